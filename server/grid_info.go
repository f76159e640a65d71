package server

import "strings"

// What INFO, HELLO and CONFIG say depends on the door: the grid door is one large server, the cluster door a node of a cluster.

// mode is how the server runs, as HELLO and INFO name it.
func (c *Call) mode() string {
	if c.s.info.Cluster {
		return "cluster"
	}
	return "standalone"
}

func infoCluster(c *Call, w *infoWriter) {
	enabled := 0
	if c.s.info.Cluster {
		enabled = 1
	}
	w.put("cluster_enabled", enabled)
}

// infoGrid is what the router knows of the grid. It is asked on the loop: the answer is at hand.
func infoGrid(c *Call, w *infoWriter) {
	lines, err := c.srv.router.Admin([]string{"info"})
	if err != nil {
		w.put("grid_error", strings.Join(strings.Fields(err.Error()), " "))
		return
	}
	w.WriteString(lines)
}

// infoMaster is a replica's part of INFO's replication, at the cluster door.
func infoMaster(master *clusterNode, w *infoWriter) {
	w.put("master_host", master.host)
	w.put("master_port", master.port)
	link := "up"
	if master.Fenced {
		link = "down"
	}
	w.put("master_link_status", link)
	w.put("slave_read_only", 1)
}
