-- Renews the lease, and removes the entries that the node has read from its inbox.
-- ARGV[4..]: the lease in ms, the id of the last entry that was read, whether the node drains, its text
-- about itself, the version of the list of nodes that it knows, and, if it continues a paused node, the names of the
-- process before and of its own. h:{node} has the last one as p: a second process with the same state is refused.
-- Returns the number of entries up to that id that ever were in the inbox; the nodes whose lease has ended; those
-- whose eviction has begun; the lists of rooms of earlier worlds; the number of entries after that id; the time
-- of the cluster; the version of the list of nodes; and the list, if the node knows another version.
local nodes, inbox = PREFIX .. 'nodes', PREFIX .. 'i:' .. NODE
local time, position = now(), ARGV[5]
redis.call('ZADD', nodes, integer(time + ARGV[4] * 1000), NODE)
redis.call('XTRIM', inbox, 'MINID', position)
local before, process = ARGV[9], ARGV[10] or ''
local last = redis.call('HGET', PREFIX .. 'h:' .. NODE, 'p') or ''
local is_used = process ~= '' and last ~= before and last ~= process
if is_used or redis.call('EXISTS', inbox) == 0 then
    -- Another process has continued the node, or the server dropped the inbox: its contents are unknown.
    redis.call('ZREM', nodes, NODE)
    redis.call('SADD', PREFIX .. 'evicting', NODE)
    redis.call('INCR', PREFIX .. 'nodes-version')
    return 'FENCED'
end
if process ~= '' then
    redis.call('HSET', PREFIX .. 'h:' .. NODE, 'p', process)
end
local added, length, first = 0, 0, nil
local info = redis.call('XINFO', 'STREAM', inbox)
for index = 1, #info, 2 do
    if info[index] == 'entries-added' then
        added = info[index + 1]
    elseif info[index] == 'length' then
        length = info[index + 1]
    elseif info[index] == 'first-entry' then
        first = info[index + 1] and info[index + 1][1]
    end
end
local read = added - length
if first == position then
    read = read + 1
end
local expired = redis.call('ZRANGEBYSCORE', nodes, '-inf', integer(time))
record_about(NODE, ARGV[6], ARGV[7])
local version, listed = redis.call('GET', PREFIX .. 'nodes-version'), {}
if version ~= ARGV[8] then
    listed = describe(redis.call('ZRANGE', nodes, 0, -1))
end
return { read, expired, redis.call('SMEMBERS', PREFIX .. 'evicting'), redis.call('SMEMBERS', PREFIX .. 'old'),
    added - read, integer(cluster_time()), version, listed }
