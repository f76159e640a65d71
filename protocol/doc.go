// Package protocol is the wire: a resumable RESP2/RESP3 parser, reply encoders, and the numbers' text forms.
package protocol
