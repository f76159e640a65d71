package server

import "fmt"

// checkRun holds a handler to its promise: it checks first and changes then. A command that has changed something must
// not answer an error, since what it did is not undone. reply is what the handler wrote, changed the effects it made.
func (c *Call) checkRun(reply []byte, changed int) {
	if changed > 0 && len(reply) > 0 && reply[0] == '-' {
		panic(fmt.Sprintf("%q made %d changes and then failed: %q", c.Args, changed, reply))
	}
}
