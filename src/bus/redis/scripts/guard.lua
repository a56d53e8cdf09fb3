-- The beginning of every script of a registered node: refuses a node of another world, and an evicted node.
-- ARGV: prefix, world, node.
local WORLD, NODE = ARGV[2], ARGV[3]

if redis.call('GET', PREFIX .. 'world') ~= WORLD then
    return 'WORLD'
end
if not redis.call('ZSCORE', PREFIX .. 'nodes', NODE) then
    return 'FENCED'
end
