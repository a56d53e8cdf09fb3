-- Places a room on a relay node, unless it is placed on a live one.
-- ARGV[4..]: room, the node to place it on, seconds until it may be placed anew.
-- Returns the room's relay node.
local key = PREFIX .. 'q:' .. ARGV[4]
local placed = redis.call('GET', key)
if not placed or not redis.call('ZSCORE', PREFIX .. 'nodes', placed) then
    placed = ARGV[5]
end
redis.call('SET', key, placed, 'EX', ARGV[6])
return placed
