// Package raftstoretest is a cluster of coordinators with disks and a network that fail, for testing/synctest bubbles, and a
// checker of what its clients are told. The stores are those of production down to TLS and to the log's transactions;
// what fails lies below: Disk, Network and Clock.
//
//	c := raftstoretest.New(t, raftstoretest.Options{Nodes: 3})
//	leader := c.Leader()
//	c.Isolate(leader) // or Split, Mute, Ring, Links; leader.Crash, Freeze; leader.Disk.Hang, Full, Slow, Refuse; leader.Clock.Set
//	next := c.Leader(leader)
//
// A test that fails says its seed: run it again with DRP_TEST_SEED. The seed decides what fails when; how goroutines take
// turns it does not decide, so the same seed need not fail again. DRP_TEST_LOG=1 shows what the coordinators log.
//
// What is not like the real thing: time stands still while anybody computes; Freeze does not stop raft's own timers; that
// bolt syncs each transaction is taken for granted here, and is tried with real processes.
//
// Each defence has a test that fails without it:
//
//	no short cut for heartbeats (hashicorp/raft#695)      TestHeartbeats_QueueBehindTheLog
//	watchdog of the log (#503, #666)                      TestT4_LeadersDiskHangs_LeadershipIsGone
//	VerifyLeader against a timer                          TestRead_ReturnsWhileTheDiskHangs
//	one append at a time, no pipeline (#612)              TestT5_FollowerRefusesAppends_IsNotWedged
//	reads verify the leadership after the capture         TestRead_LeaderThatHangsWhileAnotherLeads
//	a command's id is answered once                       TestChecker_Finds, TestT1_Linearizable
//	two trues on LeaderCh end what was before             raftstore: TestStore_Lead_LostAndWonAgainUnseen
//	pre-votes                                             TestReturnFromPartition_LeaderStays
//	the log is synced before a write returns              TestT2_AllKilledAtOnce_NothingAcknowledgedIsLost
//	Apply reads no clock, map order or randomness         TestReplay_SameDigestInAnyProcess
//	an unknown command stops the node                     TestUnknownCommand_StopsTheNode
//	digests are compared every 256 entries                TestT7_DivergedState_QuarantinesItself
//	a quarantine outlives the process                     TestT7_DivergedState_QuarantinesItself
//	a full disk is told in a sentence                     TestT12_DiskFull
//	commands wait for the oldest member                   TestUpgrade_NewCommandsWaitForTheOldestMember
//	entries of several commands wait for it, too          raftstore: TestStore_Bundles
//	new members get a vote, changes outlive a leader      TestMembership_ChangesUnderFaults
//	no removal that loses the quorum                      TestMembership_RemovalThatLosesTheQuorumIsRefused
//	wrong and stepping clocks raise an alarm              TestClocks_WrongOnesBreakNothing
package raftstoretest
