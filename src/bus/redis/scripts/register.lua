-- Registers a node with an empty inbox. Makes a new world if there is none. Also makes one if the server has restarted,
-- or another server took its place: then the last changes may be lost.
-- ARGV: prefix, the server's run id, node, a new world's name, the number of the node's last command,
-- the lease in ms, the text of the node about itself, the number of the registration, whether it drains,
-- and the time of the cluster as the node knows it, or 0.
-- Returns the world, the nodes that have restated all their rooms in it, and the time of the cluster.
local RUN, NODE = ARGV[2], ARGV[3]

-- Removes the keys of a node in an earlier world. `clean.lua` removes the rosters later, in steps, as they are many.
local function retire(node)
    local rooms, name = PREFIX .. 'nr:' .. node, ARGV[4] .. ':' .. node
    if redis.call('EXISTS', rooms) == 1 then
        redis.call('RENAME', rooms, PREFIX .. 'old:' .. name)
        redis.call('SADD', PREFIX .. 'old', name)
    end
    redis.call('DEL', PREFIX .. 'i:' .. node, PREFIX .. 'h:' .. node)
end

local world = redis.call('GET', PREFIX .. 'world')
if not world or string.match(world, ' (%S+)$') ~= RUN then
    world = ARGV[4] .. ' ' .. RUN
    redis.call('SET', PREFIX .. 'world', world)
    redis.call('SET', PREFIX .. 'world-since', integer(now()))
    for _, node in ipairs(redis.call('ZRANGE', PREFIX .. 'nodes', 0, -1)) do
        retire(node)
    end
    for _, node in ipairs(redis.call('SMEMBERS', PREFIX .. 'evicting')) do
        retire(node)
    end
    redis.call('DEL', PREFIX .. 'nodes', PREFIX .. 'evicting')
end
local earlier = redis.call('HGET', PREFIX .. 'h:' .. NODE, 'g')
if earlier and tonumber(earlier) >= tonumber(ARGV[8]) then
    -- The node sent it on an earlier connection, and it arrives after the later one, which counts.
    return 'LATE'
end
redis.call('DEL', PREFIX .. 'i:' .. NODE, PREFIX .. 'h:' .. NODE, PREFIX .. 'nr:' .. NODE)
if tonumber(ARGV[10]) > cluster_time() then
    redis.call('SET', PREFIX .. 'ahead', integer(ARGV[10] - now()))
end
redis.call('ZADD', PREFIX .. 'nodes', integer(now() + ARGV[6] * 1000), NODE)
redis.call('HSET', PREFIX .. 'h:' .. NODE, 'c', ARGV[5], 'g', ARGV[8])
record_about(NODE, ARGV[9], ARGV[7])
redis.call('XADD', PREFIX .. 'i:' .. NODE, '*', 't', 'registered')
local restated = {}
for _, node in ipairs(redis.call('ZRANGE', PREFIX .. 'nodes', 0, -1)) do
    if redis.call('HGET', PREFIX .. 'h:' .. node, 'restated') then
        restated[#restated + 1] = node
    end
end
return { world, restated, integer(cluster_time()) }
