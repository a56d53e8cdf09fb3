-- Announces that the relay of this node continues although the node ends: it returns under a new identifier. Until
-- then its rooms stay where they are.
-- ARGV[4]: seconds.
redis.call('SET', PREFIX .. 'returning:' .. NODE, '1', 'EX', ARGV[4])
return 'OK'
