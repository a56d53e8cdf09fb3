-- The roster of a room: reads it, changes it, and sends the change to every node with members.
-- Keys: r:{room} has w (world), s (number of the last event), a (newest age), u:{user} = node connection age,
-- x:{user} = times of replacements; m:{room} counts the members of each node; nr:{node} lists its rooms.
local function roster_of(room)
    local self = {
        room = room,
        key = PREFIX .. 'r:' .. room,
        counts = PREFIX .. 'm:' .. room,
    }

    -- Starts a roster that does not exist, or that is of an earlier world.
    function self.open()
        if redis.call('HGET', self.key, 'w') ~= WORLD then
            redis.call('DEL', self.key, self.counts)
            redis.call('HSET', self.key, 'w', WORLD, 's', integer(cluster_time()), 'a', '0')
        end
        self.receivers = redis.call('HKEYS', self.counts)
    end

    -- Removes the roster if nobody is left.
    function self.close()
        if redis.call('EXISTS', self.counts) == 0 then
            redis.call('DEL', self.key)
        end
    end

    function self.get(user)
        local value = redis.call('HGET', self.key, 'u:' .. user)
        if value then
            local node, connection, age = string.match(value, '^(%S+) (%S+) (%S+)$')
            return { node = node, connection = connection, age = age }
        end
    end

    function self.put(user, connection, age)
        redis.call('HSET', self.key, 'u:' .. user, NODE .. ' ' .. connection .. ' ' .. age)
        if redis.call('HINCRBY', self.counts, NODE, 1) == 1 then
            redis.call('SADD', PREFIX .. 'nr:' .. NODE, room)
        end
    end

    function self.remove(user, node)
        redis.call('HDEL', self.key, 'u:' .. user)
        if redis.call('HINCRBY', self.counts, node, -1) <= 0 then
            redis.call('HDEL', self.counts, node)
            redis.call('SREM', PREFIX .. 'nr:' .. node, room)
        end
    end

    -- An age that is newer than all others.
    function self.new_age()
        local newest = tonumber(redis.call('HGET', self.key, 'a'))
        local age = integer(math.max(cluster_time(), newest + 1))
        redis.call('HSET', self.key, 'a', age)
        return age
    end

    function self.keep_age(age)
        if tonumber(age) > tonumber(redis.call('HGET', self.key, 'a')) then
            redis.call('HSET', self.key, 'a', age)
        end
    end

    -- Lines of "user node connection age", of one node or of all.
    function self.lines(node)
        local all = redis.call('HGETALL', self.key)
        local lines = {}
        for index = 1, #all, 2 do
            if string.sub(all[index], 1, 2) == 'u:' then
                if not node or string.match(all[index + 1], '^%S+') == node then
                    lines[#lines + 1] = string.sub(all[index], 3) .. ' ' .. all[index + 1]
                end
            end
        end
        return table.concat(lines, '\n')
    end

    function self.next_number()
        return integer(redis.call('HINCRBY', self.key, 's', 1))
    end

    function self.number()
        return redis.call('HGET', self.key, 's')
    end

    return self
end

local function send(node, ...)
    redis.call('XADD', PREFIX .. 'i:' .. node, 'NOMKSTREAM', 'MAXLEN', '~', '10000', '*', ...)
end

local function contains(list, value)
    for _, one in ipairs(list) do
        if one == value then
            return true
        end
    end
    return false
end

-- Whether a node was not evicted.
local function is_live(node)
    return redis.call('ZSCORE', PREFIX .. 'nodes', node)
end
