-- The beginning of every script.
-- ARGV: prefix.
local PREFIX = ARGV[1]

local function now()
    local time = redis.call('TIME')
    return time[1] * 1000000 + time[2]
end

local function integer(number)
    return string.format('%.0f', number)
end

-- The time of the cluster. It never goes back, even if the clock of a restarted server is behind: nodes report the
-- time that they know (`register.lua`).
local function cluster_time()
    return now() + tonumber(redis.call('GET', PREFIX .. 'ahead') or '0')
end
