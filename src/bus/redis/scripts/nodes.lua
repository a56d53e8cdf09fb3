-- Returns the nodes whose lease has not ended, as `describe` lists them. A node may ask before it registers.
return describe(redis.call('ZRANGEBYSCORE', PREFIX .. 'nodes', '(' .. integer(now()), '+inf'))
