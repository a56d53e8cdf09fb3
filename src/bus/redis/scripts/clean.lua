-- Removes at most 50 rosters of an earlier world.
-- ARGV[4]: the list of rooms.
-- Returns the number of rooms that are left.
local MAX_ROOMS = 50
local list = PREFIX .. 'old:' .. ARGV[4]
for _, room in ipairs(redis.call('SPOP', list, MAX_ROOMS)) do
    local key = PREFIX .. 'r:' .. room
    if redis.call('HGET', key, 'w') ~= WORLD then
        redis.call('DEL', key, PREFIX .. 'm:' .. room, PREFIX .. 'v:' .. room)
    end
end
local left = redis.call('SCARD', list)
if left == 0 then
    redis.call('SREM', PREFIX .. 'old', ARGV[4])
end
return left
