// Package goredis gives programs that use go-redis (github.com/redis/go-redis/v9) a near cache, by one line:
//
//	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
//	near, err := goredis.Attach(ctx, rdb, client.NearCache{Prefixes: []string{"page:"}})
//	...
//	defer near.Close()
//
// From then on rdb's commands that read one key of these prefixes, and MGET, are answered from memory where it holds the answer. The
// memory is kept right by the servers: see client.NearCache for what is guaranteed. All other commands go where they went before; what
// they write is known to the near cache, so a program reads its own writes.
//
// # How
//
// Attach makes a client.Client beside rdb, with rdb's addresses and credentials, and adds a hook to rdb.
//
//	a command -> hook.process -> words          its arguments as text, as go-redis would send them
//	          -> client.Nears, and fill can put such a reply into this type of command?
//	             yes: client.Do -> fill
//	             no, or client.Do fails: client.Outside -> rdb's own way -> the function Outside returned
//
// A pipeline is answered so where each of its commands is; otherwise the whole of it goes its own way, so that its reads come
// behind its writes. So do transactions (MULTI). In Client.Watch reads are answered so too: WATCH makes stale what is held of the keys it
// names, so what is read of them afterwards is not older than the watch, and EXEC fails where it has changed since.
package goredis
