-- A rate limiter (GCRA) that all nodes share.
-- ARGV[4..]: name, microseconds for each permit, permits in a burst.
-- Returns 0, or the microseconds until the next permit.
local key, interval, burst = PREFIX .. 'l:' .. ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local time = now()
local idle_at = math.max(tonumber(redis.call('GET', key) or '0'), time) + interval
local wait = idle_at - time - interval * burst
if wait > 0 then
    return wait
end
redis.call('SET', key, integer(idle_at), 'PX', math.ceil((idle_at - time) / 1000))
return 0
