-- The beginning of every script of a registered node: refuses a node of another world, and an evicted node.
-- ARGV: prefix, world, node.
local PREFIX, WORLD, NODE = ARGV[1], ARGV[2], ARGV[3]

local function now()
    local time = redis.call('TIME')
    return time[1] * 1000000 + time[2]
end

local function integer(number)
    return string.format('%.0f', number)
end

if redis.call('GET', PREFIX .. 'world') ~= WORLD then
    return 'WORLD'
end
if not redis.call('ZSCORE', PREFIX .. 'nodes', NODE) then
    return 'FENCED'
end
