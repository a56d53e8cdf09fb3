-- Changes the description of a member, and sends it to the other nodes with members.
-- ARGV[5..]: room, user, connection, description.
-- The event has the number of the one before it, so that nodes of earlier versions may ignore it.
local roster = roster_of(ARGV[5])
local user, connection, description = ARGV[6], ARGV[7], ARGV[8]

if not roster.load() then
    return 'OK'
end
local entry = roster.get(user)
if entry and entry.node == NODE and entry.connection == connection then
    roster.describe(user, description)
    local number = roster.number()
    for _, node in ipairs(roster.receivers) do
        if node ~= NODE then
            send(node, 't', 'described', 'r', roster.room, 's', number, 'u', user, 'n', NODE, 'c', connection,
                'i', description)
        end
    end
end
return 'OK'
