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
