// Package manager moves routing values between units over HTTP. A Manager is an http.Handler:
//
//	GET /switch?values=guangzhou            with two units: to the other one
//	GET /switch?values=a,b&to=unit-3        create=true makes rules for values without one of their own; deadline=20s. In a URL, the % of a
//	                                        rule's name is %25: values=@exact:a%252Cb
//	GET /switch?from=unit-2&to=unit-1       everything of a unit
//	GET /switch?...&dry-run=true            what it would move, who would have to acknowledge, what stands in its way: a
//	                                        switchplan.Forecast; nothing is changed
//	GET /switch?...&override=lag-limit      a guard is passed by; allow-unmanaged=group the same for clients that do not know the
//	                                        routes. Both are recorded with by=name
//	GET /switch?...&forced=true             the losing units are not asked: they are dead or out of reach
//	POST /rules?rule=@slots:0-511           adds a rule and changes no owner; owner=unit-1 for values that no rule catches. DELETE removes one
//	                                        where another rule gives its values the same set
//	POST /rejoin?unit=unit-2                waits until a unit that lost routes by force is taken back, which happens by itself once it
//	                                        answers; lost=true gives its log up and does not ask it
//	POST /replay?values=a&group=g&since=1h  the owners process messages once more; topics= and units= (where they were first stored) choose
//	                                        among them, partial=true goes on where a queue does not go back to since any more
//	POST /provision?unit=unit-2&group=g&start=first
//	                                        says where a group begins in a unit in which it does not run
//	POST /orders/{id}/approve?step=name     answers an approval, of any manager; by=name&note=text are recorded
//	POST /orders/{id}/refuse?step=name      aborts the switch
//	POST /orders/{id}/abort                 calls a switch off that has not committed, of any manager: status 202, GET /orders says what became
//	                                        of it; by=name&note=text are recorded
//	GET /events                             server-sent events: the switches this manager runs (switchplan.Event); task=id for one
//	GET /routes /units /orders              the documents as JSON
//	GET /healthz /metrics                   metrics in Prometheus text format
//
// Parameters belong into the URL; a request with a body is refused, and so is one with parameters that are unknown, malformed or empty. A flag
// without a value is true. HEAD moves nothing.
//
// A refusal is answered with status 400, 404 or 409 and a Failure that says what, where and what to do. The account of a request with basic
// authentication counts before by=name; Options.Who finds out in another way. The manager itself lets everybody in: put it behind what
// checks passwords.
//
// A reader of /events that is 256 events behind is dropped: the last event says so.
//
// Users' own steps are given in Options.Steps. Any number of managers may run, and one finishes the switches another one left, so each needs
// the same steps. They hold no state of their own apart from when they first saw what the least interval between two switches counts from.
package manager
