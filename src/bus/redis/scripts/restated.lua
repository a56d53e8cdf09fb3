-- Records that a node has restated all its rooms, and tells all nodes.
redis.call('HSET', PREFIX .. 'h:' .. NODE, 'restated', '1')
for _, node in ipairs(redis.call('ZRANGE', PREFIX .. 'nodes', 0, -1)) do
    send(node, 't', 'all-restated', 'n', NODE)
end
return 'OK'
