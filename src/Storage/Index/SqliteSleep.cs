using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace ObjectStore.Sqlite;

/// <summary>
/// Gives SQLite a sleep that is finer than a second. The bundled library is built without usleep, so every wait inside it, even one of
/// 39 µs in the retry of a WAL read, takes a whole second; under load that showed as latencies of exactly 1.00 s. A VFS is a
/// mutable record of function pointers, one of which is replaced here in each that is there, once per process: "unix", the default, and "unix-excl", which indexes
/// are opened with, are two of them. This file is compiled into every project that opens a database.
/// </summary>
internal static unsafe partial class SqliteSleep
{
    // sqlite3_vfs, 64 bit: three ints and padding, then pointers: pNext, zName, pAppData and the functions; xSleep is the tenth. Source: sqlite3.h, struct sqlite3_vfs.
    private const int NextOffset = 16;
    private const int SleepOffset = 16 + 3 * 8 + 9 * 8;

    private static int _installed;

    /// <summary>Installs the sleep before the first database is opened. Thread-safe; does nothing on Windows, where SQLite's own sleep is fine enough.</summary>
    public static void Install()
    {
        if (OperatingSystem.IsWindows() || !Environment.Is64BitProcess || Interlocked.Exchange(ref _installed, 1) != 0) return;
        _ = Initialize();
        delegate* unmanaged[Cdecl]<nint, int, int> sleep = &Sleep;

        // The default one is the first of the list; nobody registers another after SQLite itself has.
        for (nint vfs = FindVfs(0); vfs != 0; vfs = *(nint*)(vfs + NextOffset))
            Volatile.Write(ref Unsafe.AsRef<nint>((void*)(vfs + SleepOffset)), (nint)sleep);
    }

    /// <summary>
    /// Makes a connection wait for a lock, a millisecond at a time, up to a limit. In place of sqlite3_busy_timeout, which in a library without usleep
    /// tries again once a second whatever the sleep above does.
    /// </summary>
    /// <param name="connection">The sqlite3 handle.</param>
    /// <param name="limit">How long it waits before SQLITE_BUSY; zero does not wait.</param>
    public static void SetBusyLimit(nint connection, TimeSpan limit)
    {
        delegate* unmanaged[Cdecl]<nint, int, int> handler = &OnBusy;
        _ = BusyHandler(connection, (nint)handler, (nint)limit.TotalMilliseconds);
    }

    [LibraryImport("e_sqlite3", EntryPoint = "sqlite3_busy_handler")]
    private static partial int BusyHandler(nint connection, nint handler, nint limitMilliseconds);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int OnBusy(nint limitMilliseconds, int tries)
    {
        if (tries >= limitMilliseconds) return 0;
        Thread.Sleep(1);
        return 1;
    }

    [LibraryImport("e_sqlite3", EntryPoint = "sqlite3_initialize")]
    private static partial int Initialize();

    [LibraryImport("e_sqlite3", EntryPoint = "sqlite3_vfs_find")]
    private static partial nint FindVfs(nint name);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Sleep(nint vfs, int microseconds)
    {
        // Whole milliseconds are slept; less is a yield, because a timer would take longer than what is waited for.
        if (microseconds >= 1000) Thread.Sleep(microseconds / 1000);
        else Thread.Sleep(0);
        return microseconds;
    }
}
