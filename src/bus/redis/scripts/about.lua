-- The text of each node about itself. `nodes-version` changes with the list of nodes and with these texts.

-- For each node: its identifier, whether it drains, and its text.
local function describe(nodes)
    local all = {}
    for _, node in ipairs(nodes) do
        local fields = redis.call('HMGET', PREFIX .. 'h:' .. node, 'draining', 'about')
        for _, value in ipairs({ node, fields[1] or '0', fields[2] or '' }) do
            all[#all + 1] = value
        end
    end
    return all
end

local function record_about(node, draining, about)
    local key = PREFIX .. 'h:' .. node
    local fields = redis.call('HMGET', key, 'draining', 'about')
    if fields[1] ~= draining or fields[2] ~= about then
        redis.call('HSET', key, 'draining', draining, 'about', about)
        redis.call('INCR', PREFIX .. 'nodes-version')
    end
end
