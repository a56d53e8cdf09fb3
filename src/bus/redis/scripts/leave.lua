-- Removes a connection, if the roster lists it.
-- ARGV[5..]: room, user, connection, and its node.
local roster = roster_of(ARGV[5])
local user, connection, node_of = ARGV[6], ARGV[7], ARGV[8]

if redis.call('HGET', roster.key, 'w') ~= WORLD then
    return 'OK'
end
roster.open()
local entry = roster.get(user)
if entry and entry.node == node_of and entry.connection == connection then
    roster.remove(user, node_of)
    redis.call('HDEL', roster.key, 'x:' .. user)
    local number = roster.next_number()
    for _, node in ipairs(roster.receivers) do
        send(node, 't', 'left', 'r', roster.room, 's', number, 'u', user, 'n', node_of, 'c', connection)
    end
    roster.close()
end
return 'OK'
