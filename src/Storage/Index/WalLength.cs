using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using SQLitePCL;

namespace ObjectStore.Storage.Index;

/// <summary>
/// How many pages the write-ahead log of a connection's database holds. It takes the place of SQLite's automatic checkpoint, which keeps a sync that failed to itself: the next one succeeds,
/// since the kernel takes what it could not write for clean, and a power cut may then find a database half copied from a log that has a hole.
/// </summary>
internal sealed unsafe partial class WalLength : IDisposable
{
    private readonly int* _pages;

    /// <param name="connection">The one that writes; to be closed before this is disposed, and not to be given another hook or automatic checkpoints.</param>
    public WalLength(sqlite3 connection)
    {
        _pages = (int*)NativeMemory.AllocZeroed(sizeof(int));
        _ = WalHook(connection.DangerousGetHandle(), &OnCommit, _pages);
    }

    /// <summary>As of the connection's last commit. On the thread that commits.</summary>
    public int Pages => *_pages;

    public void Dispose() => NativeMemory.Free(_pages);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int OnCommit(void* state, nint connection, byte* schema, int pages)
    {
        *(int*)state = pages;
        return raw.SQLITE_OK;
    }

    [LibraryImport("e_sqlite3", EntryPoint = "sqlite3_wal_hook")]
    private static partial void* WalHook(nint connection, delegate* unmanaged[Cdecl]<void*, nint, byte*, int, int> hook, void* state);
}
