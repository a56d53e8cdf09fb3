-- Removes a connection, if the roster lists it, or awaits its user.
-- ARGV[5..]: room, user, connection, its node, and the reason.
local roster = roster_of(ARGV[5])
local user, connection, node_of, reason = ARGV[6], ARGV[7], ARGV[8], ARGV[9]

if not roster.load() then
    return 'OK'
end
local entry = roster.get(user)
if entry and entry.node == node_of and entry.connection == connection then
    roster.remove(user, node_of)
    roster.depart(user)
    redis.call('HDEL', roster.key, 'x:' .. user)
    local number = roster.next_number()
    for _, node in ipairs(roster.receivers) do
        send(node, 't', 'left', 'r', roster.room, 's', number, 'u', user, 'n', node_of, 'c', connection,
            'y', reason)
    end
    roster.close()
    return 'OK'
end
local awaited = roster.get_awaited(user)
if awaited and awaited.node == node_of and awaited.connection == connection then
    roster.remove_awaited(user)
    roster.depart(user)
    local number, newcomers = roster.next_number(), roster.newcomers(awaited)
    for _, node in ipairs(roster.receivers) do
        send(node, 't', 'awaited-left', 'r', roster.room, 's', number, 'u', user, 'x', newcomers, 'y', reason)
    end
    roster.close()
end
return 'OK'
