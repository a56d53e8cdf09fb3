-- Carries out each command of a node once and in order, even if the node sends it again.
-- ARGV[4]: the number of the command.
local last = tonumber(redis.call('HGET', PREFIX .. 'h:' .. NODE, 'c'))
local number = tonumber(ARGV[4])
if number <= last then
    return 'OK'
end
if number > last + 1 then
    return 'GAP'
end
redis.call('HSET', PREFIX .. 'h:' .. NODE, 'c', ARGV[4])
