// Package replicator copies restic repositories from one S3 store to another, without a key to them.
//
// Every file of a repository but config is named by the SHA-256 of its content and never changes. So a copier can
// prove each object from end to end, and a copy is restorable at every moment when it lists in read order (snapshots,
// index, data), writes in write order (keys, config, data, index, snapshots) and copies only what it listed.
//
// No copy deletes an object of a repository: Move puts one elsewhere in the same bucket, verified, and Discard takes only
// what is none. Erase is for accounts that have left. Locks are never copied.
//
// Each rule has a test that tries to break it:
//
//	list in read order, the index again after the packs    TestPass_ReadOrder, TestPass_Index, TestFolder_Disordered
//	write in write order, keys before data                 TestPass_WriteOrder, TestPass_Killed (kill -9, at many points)
//	copy only what was listed                              TestPass_Late, TestPass_Meanwhile, TestFolder_Meanwhile
//	every object's content is what its name says           TestPass_FlippedByte, TestPass_Reads, TestPass_WithholdsTheEnd
//	missing data: no index or snapshot of this pass;
//	missing index: no snapshot; begin again                TestPass_Gone, TestFolder_Meanwhile
//	a listing in pages is no picture of one moment         TestPass_IndexReplacedBetweenPages, TestPass_PruneBetweenPages
//	a listing ends cleanly, or it is an error              TestPass_Listing
//	config is compared byte for byte; another is an alarm,
//	and never overwritten, whenever it came               TestPass_OtherConfig, TestPass_WrongServer, TestFolder_ConfigMeanwhile
//	what answers is no store, or another                   TestPass_WrongServer
//	locks are neither copied nor touched                   TestPass_Locks
//	"missing at the source" is no reason to delete         TestPass_DeletesNothing, TestPass
//	what the destination lost comes again                  TestPass_LostAtDestination
//	the store is given the hash to check                   TestPass_HashIsSent, TestStore (a real one refuses a wrong one)
//	a store that ignores the hash is found out             TestPass_Writes
//	an ETag is no proof: equal size, other content         TestPass_ETag, TestPass_Repair
//	nor is one bad reading: nothing good is deleted for it TestPass_LyingDestination
//	SlowDown, cut, shortened and hanging answers           TestPass_Reads, TestPass_Writes
//	slow is no fault as long as it moves                   TestWatch_SlowBody, TestThrottled
//	after an error of a write its outcome is unknown       TestPass_UnknownOutcome
//	damage that no listing shows is found and repaired,
//	at either end, and what was forgotten stays so         TestHeal, TestRepair, TestScrub_RealStore
//	what fails for one repository keeps no other back      TestFolder_OneFails
//	a key file costs no more to try than restic's own do   TestPass_DearKey
//
// And of what the packages below do with a repository, or let be done:
//
//	nothing exclusive beside a copy or a look at it        worker.TestTurns, worker.TestWorker_UpkeepTurns
//	a fault of either store, at any moment: nothing lost,
//	nothing called good, and it recovers by itself         worker.TestOutage
//	what other restics made is a repository like any       worker.TestOldRepositories
//	only the lists of the home's epoch say what is over,
//	and none of it goes while a replica is ahead           maintenance.TestFollow_Waits, maintenance.TestWorld
//	snapshots, index, data; a removed key without grace    maintenance.TestFollow_Order
//	what was broken off is brought to an end first         maintenance.TestFollow_BrokenOff, maintenance.TestTend_AfterDeath
//	the grace, by two clocks                               maintenance.TestTend_Clock, maintenance.TestRun_Real
//	config, key, snapshots, a listing that ended: or
//	nothing is deleted                                     maintenance.TestRun_Refuses
//	the brake                                              maintenance.TestRun_Brake, maintenance.TestRun_BrakeBytes, maintenance.TestFollow_Brake
//	all that remains is read before anything is over       maintenance.TestRun_Undone, maintenance.TestRun_BehindItsBack
//	a false index by a holder of the password              maintenance.TestRun_Hostile
//	erasure: exactly one account's names                   maintenance.TestErase_Others, TestPlaces
//	erasure: the grace, the brake, taken back and begun
//	anew, whatever the leader says                         maintenance.TestErase_Clocks, maintenance.TestErase_Brake, maintenance.TestTakeBack
//	erasure: all versions; never done while something is
//	listed, or a listing lies                              maintenance.TestErase_Real, maintenance.TestErase_Lies
//	agents write neither keys nor config, and delete locks gateway.TestGateway_refuses, gateway.TestStolenServer
//	no cache of one copy is used for another               restic.TestRunner_cache
//	logical damage is copied faithfully: the copy is
//	checked and restored with the key                      verify.TestFlippedBytes, verify.TestVerifier_Good
package replicator
