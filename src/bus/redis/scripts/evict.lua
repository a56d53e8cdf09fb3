-- Removes a node whose lease has ended, and its members of at most 50 rooms.
-- ARGV[4..]: the node, "expired" or "any".
-- Returns the number of rooms that are left.
local MAX_ROOMS = 50
local gone, condition = ARGV[4], ARGV[5]
local nodes, evicting, rooms = PREFIX .. 'nodes', PREFIX .. 'evicting', PREFIX .. 'nr:' .. gone

local expiry = redis.call('ZSCORE', nodes, gone)
if expiry then
    if condition == 'expired' and tonumber(expiry) > now() then
        return 0
    end
    redis.call('ZREM', nodes, gone)
    redis.call('SADD', evicting, gone)
    redis.call('INCR', PREFIX .. 'nodes-version')
end
if redis.call('SISMEMBER', evicting, gone) == 0 then
    return 0
end
for _, room in ipairs(redis.call('SPOP', rooms, MAX_ROOMS)) do
    local roster = roster_of(room)
    if roster.exists() then
        for line in string.gmatch(roster.lines(gone), '[^\n]+') do
            local user = string.match(line, '^%S+')
            redis.call('HDEL', roster.key, 'u:' .. user, 'd:' .. user, 'x:' .. user)
            roster.depart(user)
        end
        redis.call('HDEL', roster.counts, gone)
        local number = roster.next_number()
        for _, node in ipairs(redis.call('HKEYS', roster.counts)) do
            send(node, 't', 'gone', 'r', room, 's', number, 'n', gone)
        end
        roster.close()
    end
end
local left = redis.call('SCARD', rooms)
if left == 0 then
    redis.call('SREM', evicting, gone)
    redis.call('DEL', PREFIX .. 'i:' .. gone, PREFIX .. 'h:' .. gone)
end
return left
