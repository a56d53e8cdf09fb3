-- Finds a node by the beginning of the SHA-1 of its name, in hexadecimal digits.
-- ARGV[4]: the digits.
-- Returns the identifier after a colon, or ''.
for _, node in ipairs(redis.call('ZRANGE', PREFIX .. 'nodes', 0, -1)) do
    local name = string.match(node, '^(.*)%.[^.]*$') or node
    if string.sub(redis.sha1hex(name), 1, #ARGV[4]) == ARGV[4] then
        return ':' .. node
    end
end
return ''
