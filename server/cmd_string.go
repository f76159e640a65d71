package server

import "github.com/neargrid/neargrid/partition"

var stringRows = []*Row{
	{Name: "get", Arity: 2, Flags: ReadOnly | Fast, Group: "string", Keys: keys(1, 1, 1, RO|Access), Since: "1.0.0",
		Complexity: "O(1)", Summary: "Returns a string.", Syntax: "key", Run: cmdGet},
	{Name: "set", Arity: -3, Flags: Write | DenyOOM, Group: "string", Keys: keys(1, 1, 1, RW|Access|Update|VariableFlags), Since: "1.0.0",
		Complexity: "O(1)", Summary: "Sets a string.", Syntax: "key value", Run: cmdSet},
}

func cmdGet(c *Call) {
	b, ok, err := c.Tx.String(c.Args[1])
	switch {
	case err != nil:
		c.W.Error(err.Error())
	case !ok:
		c.W.Null()
	default:
		c.W.Bulk(b)
	}
}

func cmdSet(c *Call) {
	c.Tx.SetString(c.Args[1], c.Args[2], partition.StringAuto, 0)
	c.W.OK()
}
