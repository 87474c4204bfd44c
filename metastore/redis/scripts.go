package redis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"

	goredis "github.com/redis/go-redis/v9"
)

// The scripts change the keys of one hash slot only, and are replicated by what they changed. A script that fails half way is not undone,
// so each publishes before it writes: without the permission to publish nothing is written. Subscribers read after the script ended.
var (
	// KEYS: document. ARGV: expected revision, the id of the change that made it if that is known, id of this change, value, id of a new
	// history. Two revisions may be equal although one of them was lost in a failover: the ids tell.
	putScript = newScript(documentLua + `
lineage = lineage or ARGV[5]
if not number or exists and number < 1 then return {'corrupt', revision, lineage, changes} end
if (exists and revision or '0') ~= ARGV[1] or exists and forked then return {'conflict', revision, lineage, changes} end
change()
redis.call('HSET', KEYS[1], 'revision', revision, 'lineage', lineage, 'changes', changes, 'value', ARGV[4])
return {'ok', revision, lineage, changes}`)

	// KEYS: document. ARGV: as put, to the id of this change. What tells the history stays.
	deleteScript = newScript(documentLua + `
lineage = lineage or ''
if not number or exists and number < 1 then return {'corrupt', revision, lineage, changes} end
if not exists then return {'absent', revision, lineage, changes} end
if revision ~= ARGV[1] or forked then return {'conflict', revision, lineage, changes} end
change()
redis.call('HSET', KEYS[1], 'revision', revision, 'changes', changes)
redis.call('HDEL', KEYS[1], 'value')
return {'ok', revision, lineage, changes}`)

	// KEYS: document. Answers as HMGET, but not at a replica: what is removed is nothing, and still a write.
	masterScript = newScript(`
redis.call('HDEL', KEYS[1], '')
return redis.call('HMGET', KEYS[1], 'revision', 'lineage', 'changes', 'value')`)

	// KEYS: per set its records and its expiries. ARGV: TTL in ms, then (number of the set, id, record) each. Answers per triple whether
	// the id is the record's: a living member with another record keeps it. The record of the id '' counts the changes of the set.
	holdScript = newScript(nowLua + `
local answers, changed = {}, {}
for i = 2, #ARGV, 3 do
  local records, expiries = KEYS[2 * ARGV[i] - 1], KEYS[2 * ARGV[i]]
  local id, record = ARGV[i + 1], ARGV[i + 2]
  local have, expiry = redis.call('HGET', records, id), redis.call('ZSCORE', expiries, id)
  if have and have ~= record and expiry and tonumber(expiry) > now then
    answers[#answers + 1] = 0
  else
    if have ~= record or not expiry then
      if not changed[records] then change(records); changed[records] = true end
      redis.call('HSET', records, id, record)
    end
    redis.call('ZADD', expiries, string.format('%.0f', now + ARGV[1]), id)
    answers[#answers + 1] = 1
  end
end
return answers`)

	// KEYS: records, expiries. ARGV: id, record.
	leaveScript = newScript(nowLua + `
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
change(KEYS[1])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1`)

	// KEYS: records, expiries. ARGV: the count of changes the caller knows. Removes who has expired; answers the count, and the records
	// if it is another one.
	listScript = newScript(nowLua + `
local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
if #gone > 0 then
  change(KEYS[1])
  for _, id in ipairs(gone) do
    redis.call('HDEL', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
  end
end
local count = redis.call('HGET', KEYS[1], '') or '0'
if count == ARGV[1] then return {count} end
return {count, redis.call('HGETALL', KEYS[1])}`)
)

// documentLua reads what changes compare, and makes the next revision.
const documentLua = `
local revision, lineage, changes = unpack(redis.call('HMGET', KEYS[1], 'revision', 'lineage', 'changes'))
revision, changes = revision or '0', changes or ''
local number = tonumber(revision)
local exists = redis.call('HEXISTS', KEYS[1], 'value') == 1
local forked = ARGV[2] ~= '' and string.sub(changes, 1, #ARGV[2]) ~= ARGV[2]
local function change()
  revision, changes = string.format('%.0f', number + 1), ARGV[3] .. string.sub(changes, 1, 15 * #ARGV[3])
  redis.call('PUBLISH', KEYS[1], revision)
end`

// nowLua tells the server's time in milliseconds, and counts a change of a set: from the time on, so that a server which lost its data
// does not come to a count that watchers know.
const nowLua = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function change(records)
  local count = tonumber(redis.call('HGET', records, '') or 0) or 0
  count = string.format('%.0f', math.max(count + 1, time[1] * 1000000 + time[2]))
  redis.call('PUBLISH', records, count)
  redis.call('HSET', records, '', count)
end`

// script is sent by its hash; a server that does not know it has done nothing, and gets the source.
type script struct{ source, hash string }

func newScript(source string) *script {
	sum := sha1.Sum([]byte(source)) // as Redis names scripts
	return &script{source: source, hash: hex.EncodeToString(sum[:])}
}

// send passes the commands to run, the second only if the server does not know the first one's script.
func (s *script) send(ctx context.Context, keys []string, args []any, run func(once) error) (*goredis.Cmd, error) {
	cmd := command(ctx, "evalsha", s.hash, keys, args)
	err := run(once{cmd})
	if goredis.HasErrorPrefix(err, "NOSCRIPT") {
		cmd = command(ctx, "eval", s.source, keys, args)
		err = run(once{cmd})
	}
	return cmd, err
}

// once is a command the client must not send again by itself. After a lost answer nobody knows whether it was carried out, and a
// compare-and-set that was would conflict with itself the second time. (MaxRetries would not do: a cluster client repeats by its
// MaxRedirects, without which it could not follow a moved slot.)
type once struct{ *goredis.Cmd }

// NoRetry implements goredis.Cmder.
func (once) NoRetry() bool { return true }

func command(ctx context.Context, verb, code string, keys []string, args []any) *goredis.Cmd {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, verb, code, len(keys))
	for _, k := range keys {
		all = append(all, k)
	}
	cmd := goredis.NewCmd(ctx, append(all, args...)...)
	cmd.SetFirstKeyPos(3)
	return cmd
}
