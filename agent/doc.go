// Package agent joins a process to a unit: it follows the routing table, keeps the process in the roster and gives the application
// client-go's producer and push consumer for the unit's own cluster.
//
//	unit, err := agent.Join(ctx, "unit-1", store, &agent.Options{Value: tagging.FromProperty("city")})
//	defer unit.Close(ctx)
//	p, err := unit.NewProducer(producer.WithGroupName("mtr"))
//	c, err := unit.NewPushConsumer(consumer.WithGroupName("channel"))
package agent
