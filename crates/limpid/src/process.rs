//! Threads, signals and fork: what the library does in a program's process, and what it asks of it.
//!
//! # Threads
//! All handles can be used by all threads at once. The first map starts the engine's threads
//! (`limpid-fault`, `limpid-unbar`), which block every signal but those of their own faults. They
//! settle the faults of all maps; a map keeps at most four of them busy, more are started when
//! others are, so that no file waits for another's slow medium. Without maps there are none.
//!
//! # Signals
//! Safe calls never end the program by a signal: an access that the medium, the end of the file or
//! the system refuses is an error. For this the library handles SIGBUS, and SIGSEGV once a
//! private writable map is made or the process has used up its mappings. Faults that are not its
//! own, and signals that are sent, go to the program's handler, or to the default.
//!
//! A program may install its own handlers at any time; it need not call the ones it replaces. The
//! library puts its own in front again before it makes a page fail or freezes one, and looks after
//! them in its calls, at most once in a tick of the system's coarse clock (1 to 10 ms). What is
//! left: a handler that was installed within the same tick as the medium itself fails gets that
//! fault. Also: asked for the action in force, the system names the library's; after 16 different
//! handlers for one signal the program's stays in front; a handler that passes on to what it
//! replaced must not be installed twice without being taken out.
//!
//! Do not block SIGBUS or SIGSEGV in threads that use maps: the system ends a process that cannot
//! take a fault. A signal handler must not use the library, and must not touch a map's memory if
//! its thread may be inside a call.
//!
//! Through a pointer into a map ([`Map::as_ptr`](crate::Map::as_ptr)) the program's own accesses
//! raise SIGBUS past the end of the file and where the medium fails. Where `vm.max_map_count` is
//! used up they raise SIGBUS or SIGSEGV; safe calls return
//! [`Error::NoMappings`](crate::Error::NoMappings) then.
//!
//! # Locked memory
//! A program may lock its memory (mlockall(2)) before or while it has maps. What is locked with
//! MCL_CURRENT is touched, as by a store where stores are allowed: holes in maps that can be
//! written get storage, and private maps get copies. MCL_ONFAULT touches nothing.
//!
//! # Fork
//! A child of fork without exec has the parent's handles, but not its threads, and is not the user
//! whom the pool is open for. So inherited handles refuse: every call is
//! [`Error::Forked`](crate::Error::Forked), before any lock is asked for; dropping them does
//! nothing; maps are not there, so an access through a pointer is the child's SIGSEGV. The parent
//! notices nothing. The child may open pools of its own, but make no maps where the parent has
//! made some; a program that is started by exec is a process like any other, and inherits no
//! descriptor of the pool.
