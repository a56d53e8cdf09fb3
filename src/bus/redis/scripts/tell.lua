-- Sends a message to one node, or to all others.
-- ARGV[5..]: the receiver, or nothing for all; the message.
if ARGV[5] ~= '' then
    send(ARGV[5], 't', 'message', 'n', NODE, 'b', ARGV[6])
    return 'OK'
end
for _, node in ipairs(redis.call('ZRANGE', PREFIX .. 'nodes', 0, -1)) do
    if node ~= NODE then
        send(node, 't', 'message', 'n', NODE, 'b', ARGV[6])
    end
end
return 'OK'
