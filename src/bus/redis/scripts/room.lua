-- The roster of a room: reads it, changes it, and sends the change to every node with members.
-- Keys: r:{room} has w (world), s (number of the last event), a (newest age), u:{user} = node connection age,
-- d:{user} = description, a word of JSON; x:{user} = times of replacements; m:{room} counts the members of each node;
-- nr:{node} lists its rooms.
-- v:{room} has the awaited members, whose node restarts. {user} = "node connection age until since description", then on a line each
-- the users who know the member, and the users whom the member knew and who left meanwhile. r:{room} has their number as v.

local function words(text)
    local list = {}
    for word in string.gmatch(text, '%S+') do
        list[#list + 1] = word
    end
    return list
end

local function roster_of(room)
    local self = {
        room = room,
        key = PREFIX .. 'r:' .. room,
        counts = PREFIX .. 'm:' .. room,
        awaited = PREFIX .. 'v:' .. room,
    }

    -- Whether there is a roster of this world.
    function self.exists()
        local fields = redis.call('HMGET', self.key, 'w', 'v')
        self.has_awaited = fields[2]
        return fields[1] == WORLD
    end

    -- Reads who gets the events of the roster. Returns whether there is a roster of this world.
    function self.load()
        if not self.exists() then
            return false
        end
        self.receivers = redis.call('HKEYS', self.counts)
        return true
    end

    -- Loads the roster. Starts one that does not exist, or that is of an earlier world.
    function self.open()
        if not self.load() then
            redis.call('DEL', self.key, self.counts, self.awaited)
            redis.call('HSET', self.key, 'w', WORLD, 's', integer(cluster_time()), 'a', '0')
            self.has_awaited = false
            self.receivers = {}
        end
    end

    -- Removes the roster if it lists no user. While it awaits one, it stays for a while.
    function self.close()
        if redis.call('EXISTS', self.counts) == 1 then
            return
        end
        if self.has_awaited then
            redis.call('EXPIRE', self.key, 60)
            redis.call('EXPIRE', self.awaited, 60)
        else
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

    function self.put(user, connection, age, description)
        redis.call('HSET', self.key, 'u:' .. user, NODE .. ' ' .. connection .. ' ' .. age, 'd:' .. user, description)
        if redis.call('HINCRBY', self.counts, NODE, 1) == 1 then
            redis.call('SADD', PREFIX .. 'nr:' .. NODE, room)
            if self.has_awaited then
                redis.call('PERSIST', self.key)
                redis.call('PERSIST', self.awaited)
            end
        end
    end

    function self.describe(user, description)
        redis.call('HSET', self.key, 'd:' .. user, description)
    end

    function self.description(user)
        return redis.call('HGET', self.key, 'd:' .. user) or ''
    end

    function self.remove(user, node)
        redis.call('HDEL', self.key, 'u:' .. user, 'd:' .. user)
        if redis.call('HINCRBY', self.counts, node, -1) <= 0 then
            redis.call('HDEL', self.counts, node)
            redis.call('SREM', PREFIX .. 'nr:' .. node, room)
        end
    end

    -- The users who are listed now.
    function self.users()
        local users = {}
        for _, field in ipairs(redis.call('HKEYS', self.key)) do
            if string.sub(field, 1, 2) == 'u:' then
                users[#users + 1] = string.sub(field, 3)
            end
        end
        return users
    end

    -- An awaited member.
    function self.get_awaited(user)
        local value = self.has_awaited and redis.call('HGET', self.awaited, user)
        if value then
            local place, known, left = string.match(value, '^(.-)\n(.-)\n(.*)$')
            local parts = words(place)
            return { node = parts[1], connection = parts[2], age = parts[3], ['until'] = parts[4],
                since = parts[5], description = parts[6] or '', known = words(known), left = words(left) }
        end
    end

    function self.put_awaited(user, member)
        local parts = { member.node, member.connection, member.age, member['until'], member.since, member.description }
        local value = { table.concat(parts, ' '), table.concat(member.known, ' '), table.concat(member.left, ' ') }
        if redis.call('HSET', self.awaited, user, table.concat(value, '\n')) == 1 then
            self.has_awaited = redis.call('HINCRBY', self.key, 'v', 1)
        end
    end

    function self.remove_awaited(user)
        redis.call('HDEL', self.awaited, user)
        if redis.call('HINCRBY', self.key, 'v', -1) == 0 then
            redis.call('HDEL', self.key, 'v')
            self.has_awaited = false
        end
    end

    -- Records for the awaited members who knew a user that this user is gone.
    function self.depart(user)
        if not self.has_awaited then
            return
        end
        for _, name in ipairs(redis.call('HKEYS', self.awaited)) do
            local member = self.get_awaited(name)
            for index, known in ipairs(member.known) do
                if known == user then
                    table.remove(member.known, index)
                    member.left[#member.left + 1] = user
                    self.put_awaited(name, member)
                    break
                end
            end
        end
    end

    -- The listed users who do not know an awaited member, because they entered later.
    function self.newcomers(member)
        local is_known, newcomers = {}, {}
        for _, user in ipairs(member.known) do
            is_known[user] = true
        end
        for _, user in ipairs(self.users()) do
            if not is_known[user] then
                newcomers[#newcomers + 1] = user
            end
        end
        return table.concat(newcomers, ' ')
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

    -- Lines of "user node connection age description", of one node or of all. The lines of all nodes also have the awaited
    -- members, each with the age since which the roster awaits it before the description.
    function self.lines(node)
        return self.lines_of(redis.call('HGETALL', self.key), node)
    end

    -- As `lines`, from the fields and values of the roster.
    function self.lines_of(all, node)
        local lines, descriptions = {}, {}
        for index = 1, #all, 2 do
            if string.sub(all[index], 1, 2) == 'd:' then
                descriptions[string.sub(all[index], 3)] = all[index + 1]
            end
        end
        for index = 1, #all, 2 do
            if string.sub(all[index], 1, 2) == 'u:' then
                if not node or string.match(all[index + 1], '^%S+') == node then
                    local user = string.sub(all[index], 3)
                    lines[#lines + 1] = user .. ' ' .. all[index + 1] .. ' ' .. (descriptions[user] or '')
                end
            end
        end
        if not node and self.has_awaited then
            for _, user in ipairs(redis.call('HKEYS', self.awaited)) do
                local member = self.get_awaited(user)
                local line = { user, member.node, member.connection, member.age, member.since, member.description }
                lines[#lines + 1] = table.concat(line, ' ')
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
