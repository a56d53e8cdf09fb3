-- Places a room on a relay node, unless it is placed on a live one. A draining node keeps the rooms that it has.
-- ARGV[4..]: room, seconds until it may be placed anew, then nodes, the preferred one first.
-- Returns the room's relay node: the first that lives and does not drain, or the first that lives; else ''.
local key = PREFIX .. 'q:' .. ARGV[4]
local placed = redis.call('GET', key)
if not placed or not redis.call('ZSCORE', PREFIX .. 'nodes', placed) then
    local live
    placed = nil
    for index = 6, #ARGV do
        local node = ARGV[index]
        if redis.call('ZSCORE', PREFIX .. 'nodes', node) then
            live = live or node
            if not placed and redis.call('HGET', PREFIX .. 'h:' .. node, 'draining') ~= '1' then
                placed = node
            end
        end
    end
    placed = placed or live
    if not placed then
        return ''
    end
end
redis.call('SET', key, placed, 'EX', ARGV[5])
return placed
