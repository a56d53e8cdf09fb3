-- States all members of a node in a room, and answers with the whole roster. Entries that the node did not state
-- remain: it ends them itself when it sees them.
-- ARGV[5..]: room, number of the request, then user, connection, age, description for each member.
-- Of two connections of a user the newer one stays; an awaited one is always newer.
-- Age 0: a connection that is not listed anew.
local roster = roster_of(ARGV[5])
local request = ARGV[6]

-- Whether a stated member is newer than an entry, by age, node and connection.
local function is_newer(age, connection, entry)
    if tonumber(age) ~= tonumber(entry.age) then
        return tonumber(age) > tonumber(entry.age)
    end
    if NODE ~= entry.node then
        return NODE > entry.node
    end
    return tonumber(connection) > tonumber(entry.connection)
end

roster.open()
local is_changed = false
for index = 7, #ARGV, 4 do
    local user, connection, age, description = ARGV[index], ARGV[index + 1], ARGV[index + 2], ARGV[index + 3]
    local entry = roster.get(user)
    local is_listed = entry and entry.node == NODE and entry.connection == connection
    if not is_listed and age ~= '0' and not roster.get_awaited(user) then
        local is_free = not entry or not is_live(entry.node)
        if is_free or is_newer(age, connection, entry) then
            if entry then
                roster.remove(user, entry.node)
                roster.depart(user)
            end
            roster.keep_age(age)
            roster.put(user, connection, age, description)
            is_changed = true
        end
    end
end
local number = is_changed and roster.next_number() or roster.number()
local all = redis.call('HGETALL', roster.key)
if is_changed then
    local lines = roster.lines_of(all, NODE)
    for _, node in ipairs(roster.receivers) do
        if node ~= NODE then
            send(node, 't', 'restated', 'r', roster.room, 's', number, 'n', NODE, 'l', lines)
        end
    end
end
send(NODE, 't', 'snapshot', 'r', roster.room, 's', number, 'k', request, 'l', roster.lines_of(all))
roster.close()
return 'OK'
