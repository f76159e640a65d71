// Package protocol is the wire: it reads what Redis clients send, writes what they are answered, and holds the text forms
// both sides agree on (numbers, patterns, errors). It does no I/O and imports nothing of ours.
//
// # A request's bytes
//
//	socket -> the session's buffer -> Reader.Parse -> Args, slices of that buffer -> the command
//	the command -> Writer's methods, appended to Writer.Buf -> socket
//
// A [Reader] is handed the buffer from the first byte of the command under way, and keeps offsets alone: when a request
// arrives in pieces it goes on where it stopped, wherever the buffer has moved to. Nothing a client declares sizes an
// allocation; only bytes that have arrived do.
//
// A [Writer] is one byte slice and the client's protocol version. The version decides the form: what RESP3 calls a map is
// an array of twice the length to a RESP2 client.
//
// # Files
//
//	reader.go      requests: arrays of bulk strings, resumable
//	inline.go      requests typed by hand: a line, with quotes
//	writer.go      replies, RESP2 and RESP3
//	reply.go       decoder of replies, for clients and tests
//	reply_size.go  where a reply ends, without decoding it
//	value.go       decoded replies, written again
//	print.go       a reply as redis-cli shows it
//	number.go      integers and doubles, as Redis reads and prints them
//	longdouble.go  the 80-bit floats of INCRBYFLOAT
//	glob.go        the patterns of KEYS, SCAN and CONFIG GET
//	frame.go       frames between nodes: length, type, checksum
//	error.go       protocol errors, and the wording of common error replies
//
// The reference throughout is redis-server 7.0.15, oddities included: clients and their tests know them.
package protocol
