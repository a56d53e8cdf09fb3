-- Counts the users whom rosters list.
-- ARGV[4..]: rooms.
-- Returns their numbers, separated by blanks.
local numbers = {}
for index = 4, #ARGV do
    local number = 0
    if redis.call('HGET', PREFIX .. 'r:' .. ARGV[index], 'w') == WORLD then
        for _, members in ipairs(redis.call('HVALS', PREFIX .. 'm:' .. ARGV[index])) do
            number = number + tonumber(members)
        end
    end
    numbers[#numbers + 1] = integer(number)
end
return table.concat(numbers, ' ')
