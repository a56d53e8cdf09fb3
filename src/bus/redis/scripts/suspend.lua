-- Removes a connection whose node restarts. The roster awaits the user for a while, and no client is notified.
-- ARGV[5..]: room, user, connection, for how many microseconds.
local roster = roster_of(ARGV[5])
local user, connection = ARGV[6], ARGV[7]

if not roster.load() then
    return 'OK'
end
local entry = roster.get(user)
if entry and entry.node == NODE and entry.connection == connection then
    local description = roster.description(user)
    roster.remove(user, NODE)
    redis.call('HDEL', roster.key, 'x:' .. user)
    local known = roster.users()
    if roster.has_awaited then
        for _, name in ipairs(redis.call('HKEYS', roster.awaited)) do
            if contains(roster.get_awaited(name).known, user) then
                known[#known + 1] = name
            end
        end
    end
    local number, since = roster.next_number(), roster.new_age()
    roster.put_awaited(user, { node = NODE, connection = connection, age = entry.age,
        ['until'] = integer(now() + ARGV[8]), since = since, description = description, known = known, left = {} })
    for _, node in ipairs(roster.receivers) do
        send(node, 't', 'suspended', 'r', roster.room, 's', number, 'u', user, 'n', NODE, 'c', connection, 'a', since)
    end
    roster.close()
end
return 'OK'
