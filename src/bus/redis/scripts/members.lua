-- Tells which users rosters list or await.
-- ARGV[4..]: microseconds, then room and user of each.
-- Returns a digit for each: 1 if the user is listed. Returns '' while that is not known: until the world is older than
-- these microseconds, and until all nodes have restated their rooms.
local since = tonumber(redis.call('GET', PREFIX .. 'world-since') or '0')
if now() - since < tonumber(ARGV[4]) then
    return ''
end
for _, node in ipairs(redis.call('ZRANGE', PREFIX .. 'nodes', 0, -1)) do
    if not redis.call('HGET', PREFIX .. 'h:' .. node, 'restated') then
        return ''
    end
end
local listed = {}
for index = 5, #ARGV, 2 do
    local key = PREFIX .. 'r:' .. ARGV[index]
    local is_current = redis.call('HGET', key, 'w') == WORLD
    local user, awaited = ARGV[index + 1], PREFIX .. 'v:' .. ARGV[index]
    local is_listed = is_current
        and redis.call('HEXISTS', key, 'u:' .. user) + redis.call('HEXISTS', awaited, user) > 0
    listed[#listed + 1] = is_listed and '1' or '0'
end
return table.concat(listed)
