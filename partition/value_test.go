package partition

import "testing"

// A packed value that comes with a batch is checked before anything reads it.
func TestRestoreRefusesMalformedValues(t *testing.T) {
	for _, dump := range [][]byte{
		nil,
		{kindNone},
		{kindHash},                                  // nothing in it
		{kindHash, 1, 1, 'f'},                       // a field without a value
		{kindHash, 4, 1, 'f', 0, 1, 'f', 0},         // a field twice
		{kindSet, 2, 1, 'm'},                        // fewer members than counted
		{kindSet, 1, 9, 'm'},                        // a member beyond the end
		{kindIntset, 2, 5, 0, 4, 0},                 // not ascending
		{kindIntset, 3, 1, 0, 0},                    // no such width
		{kindList, 1, 1, 'e', 3},                    // wrong length behind the element
		{kindZset, 1, 1, 'm'},                       // no score
		{kindObject, byte(TypeHash), 1, 'f'},        // cut short
		{kindObject, byte(TypeHash) + 1, 1, 'f', 0}, // no such type
	} {
		c := newPair(t, 1)
		effect := append([]byte{opRestore, 0}, appendBytes(nil, []byte("k"))...)
		effect = appendBytes(append(effect, 0), dump)
		if err := c.replica.Partition(0).Apply(Batch{Seq: 1, Count: 1, Effects: effect}); err == nil {
			t.Errorf("the value % x was restored", dump)
		}
	}
}
