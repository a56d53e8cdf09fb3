-- Lists a connection, in place of the user's earlier one. It may resume that of an awaited user.
-- ARGV[5..]: room, user, connection, 1 if it resumes, and the description.
local roster = roster_of(ARGV[5])
local user, connection, description = ARGV[6], ARGV[7], ARGV[9]
local MAX_REPLACEMENTS, REPLACEMENT_WINDOW_US = 3, 60000000

roster.open()
local earlier = roster.get(user)
if earlier and earlier.node == NODE and earlier.connection == connection then
    return 'OK'
end
if earlier and is_live(earlier.node) then
    local time, times = now(), {}
    for at in string.gmatch(redis.call('HGET', roster.key, 'x:' .. user) or '', '%S+') do
        if time - tonumber(at) < REPLACEMENT_WINDOW_US then
            times[#times + 1] = at
        end
    end
    if #times >= MAX_REPLACEMENTS then
        send(NODE, 't', 'refused', 'r', roster.room, 'c', connection)
        return 'OK'
    end
    times[#times + 1] = integer(time)
    redis.call('HSET', roster.key, 'x:' .. user, table.concat(times, ' '))
end
local is_first = not contains(roster.receivers, NODE)
-- The other nodes need this about a user who was awaited: f, whether the connection resumes; x, the users who do not
-- know the user; d, the users who left meanwhile.
local more = {}
local awaited = roster.get_awaited(user)
if awaited then
    local resumes = ARGV[8] == '1' and tonumber(awaited['until']) > now()
    more = { 'f', resumes and '1' or '0', 'x', roster.newcomers(awaited), 'd', table.concat(awaited.left, ' ') }
    roster.remove_awaited(user)
    if not resumes then
        roster.depart(user)
    end
elseif earlier then
    roster.remove(user, earlier.node)
    roster.depart(user)
end
local age = roster.new_age()
roster.put(user, connection, age, description)
local number = roster.next_number()
for _, node in ipairs(roster.receivers) do
    send(node, 't', 'entered', 'r', roster.room, 's', number, 'u', user, 'n', NODE, 'c', connection, 'a', age,
        'i', description, unpack(more))
end
if is_first then
    send(NODE, 't', 'entered', 'r', roster.room, 's', number, 'u', user, 'n', NODE, 'c', connection, 'a', age,
        'i', description, 'l', roster.lines(), unpack(more))
end
return 'OK'
