// Package testredis is what tests that compare us with Redis share: it starts private servers (a real redis-server,
// or ours), speaks RESP2 and RESP3 to them keeping each reply's exact type, and writes replies and command lines in the
// notation of our transcripts.
//
//	server := testredis.Start(t)            // a real redis-server, gone when the test ends
//	conn := server.Dial(t)
//	reply := conn.Do(t, "HGETALL", "h")     // a Value
//	testredis.Format(reply)                 // `1) "field"` ...
//
// Files:
//
//	server.go    starting and stopping servers; parent_*.go so that none outlives its test
//	conn.go      a connection
//	tls.go       a certificate for servers behind TLS
//	value.go     replies with their exact types
//	notation.go  replies and command lines as transcripts show them
package testredis
