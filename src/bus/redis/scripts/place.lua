-- Places a room on a relay node, unless it is placed on a live one. A draining node keeps the rooms that it has, and
-- so does a node that has returned under a new identifier, or has announced its return.
-- ARGV[4..]: room; seconds until it may be placed anew; 1 if Redis has lost its data, so that nodes that
-- are not listed may live; the relay node that the caller remembers, or ''; then nodes, the preferred one first.
-- Returns the room's relay node: the present or remembered one, else the first that lives and does not drain, else the
-- first that lives, else ''.
local key, believes, known = PREFIX .. 'q:' .. ARGV[4], ARGV[6] == '1', ARGV[7]
local function name(node)
    return string.match(node, '^(.*)%.') or node
end
local function is_live(node)
    return redis.call('ZSCORE', PREFIX .. 'nodes', node)
end
local placed = redis.call('GET', key)
if not placed and known ~= '' then
    placed = known
end
if not placed or not believes and not is_live(placed) then
    local live, preferred, successor
    for index = 8, #ARGV do
        local node = ARGV[index]
        if is_live(node) then
            live = live or node
            if placed and name(node) == name(placed) then
                successor = node
            end
            if not preferred and redis.call('HGET', PREFIX .. 'h:' .. node, 'draining') ~= '1' then
                preferred = node
            end
        end
    end
    if placed and not successor and redis.call('EXISTS', PREFIX .. 'returning:' .. placed) == 1 then
        successor = placed
    end
    placed = successor or preferred or live
    if not placed then
        return ''
    end
end
redis.call('SET', key, placed, 'EX', ARGV[5])
return placed
