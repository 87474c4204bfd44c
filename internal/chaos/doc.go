// Package chaos runs whole installations on real servers, under load and with failing handlers, while values move and everything that a
// site consists of is killed, frozen, cut off or slowed down at random. Then it counts messages.
//
// It judges by journals that the handlers themselves write ([Journal]), by what producers got an answer for, and by its own record of
// what it did to whom and when ([Fault], [Switch]). Facts of the product are never evidence.
//
//   - Lost is a message that a broker acknowledged and no handler ended well with. A send without a clear answer may be missing.
//   - Repeated is each further run of a message that ended well. It is allowed only if the run before was cut off or not yet published when
//     its process was killed or frozen (facts are published every second; the margin is another one, and more while the unit's broker is dead), or if it is what
//     a frozen process went on with. In the unit that gets the routes of a dead site by force, it is allowed too if the run before ended so late that it
//     can have been published only in what was not copied: the test looks when the broker stored the first record that has no copy, not what records say.
//   - Two units must not run handlers of one value at the same time.
//
// What is here is pure: the format of journals, the schedule ([Draw]) and the verdict ([Judge]). The servers and processes are in the tests with
// the build tag real. The verdict is one line, and a round that must not be like that fails:
//
//	make chaos DURATION=15m
package chaos
