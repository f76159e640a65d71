package main

import "container/list"

// lru answers the hits in percent of a cache of that many items that parts with the least recently used one.
func lru(requests []int64, items int) float64 {
	held := map[int64]*list.Element{}
	newest := list.New()
	hits := 0
	for _, key := range requests {
		if e := held[key]; e != nil {
			newest.MoveToFront(e)
			hits++
			continue
		}
		if newest.Len() == items {
			delete(held, newest.Remove(newest.Back()).(int64))
		}
		held[key] = newest.PushFront(key)
	}
	return percent(hits, len(requests))
}
