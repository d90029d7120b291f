// The few SQLite functions the store calls, bound to the library that SQLitePCLRaw brings (e_sqlite3).
//
// Not through SQLitePCL.raw: its calls take SafeHandles through an interface, which costs some 30 ns each, and a page of a LIST makes ten
// calls for every key. Functions that only read or set a field of a statement keep the garbage collector's transition out as well; those that may
// do input or output, or wait for a lock, must not.

using System.Runtime.InteropServices;

namespace ObjectStore.Metadata.Sqlite;

internal static unsafe class SqliteNative
{
    private const string Library = "e_sqlite3";

    internal const int Ok = 0;
    internal const int Error = 1;
    internal const int Busy = 5;
    internal const int IoError = 10;
    internal const int Corrupt = 11;
    internal const int Full = 13;
    internal const int CannotOpen = 14;
    internal const int NotADatabase = 26;
    internal const int Row = 100;
    internal const int Done = 101;

    internal const int OpenReadWrite = 0x2;
    internal const int OpenCreate = 0x4;
    internal const int OpenNoMutex = 0x8000;

    internal const uint PreparePersistent = 1;

    internal const int CheckpointPassive = 0;
    internal const int CheckpointRestart = 2;

    /// <summary>Tells SQLite to copy what is bound before the call returns.</summary>
    internal static readonly nint Transient = -1;

    [DllImport(Library, EntryPoint = "sqlite3_open_v2", ExactSpelling = true)]
    internal static extern int Open(byte* fileName, nint* database, int flags, byte* vfs);

    [DllImport(Library, EntryPoint = "sqlite3_close_v2", ExactSpelling = true)]
    internal static extern int Close(nint database);

    [DllImport(Library, EntryPoint = "sqlite3_extended_result_codes", ExactSpelling = true)]
    internal static extern int ExtendedResultCodes(nint database, int on);

    [DllImport(Library, EntryPoint = "sqlite3_errmsg", ExactSpelling = true)]
    internal static extern byte* ErrorMessage(nint database);

    [DllImport(Library, EntryPoint = "sqlite3_get_autocommit", ExactSpelling = true)]
    internal static extern int GetAutocommit(nint database);

    [DllImport(Library, EntryPoint = "sqlite3_last_insert_rowid", ExactSpelling = true)]
    internal static extern long LastInsertRowId(nint database);

    [DllImport(Library, EntryPoint = "sqlite3_changes", ExactSpelling = true)]
    internal static extern int Changes(nint database);

    [DllImport(Library, EntryPoint = "sqlite3_wal_hook", ExactSpelling = true)]
    internal static extern void* WalHook(nint database, delegate* unmanaged[Cdecl]<void*, nint, byte*, int, int> hook, void* state);

    [DllImport(Library, EntryPoint = "sqlite3_wal_checkpoint_v2", ExactSpelling = true)]
    internal static extern int WalCheckpoint(nint database, byte* schema, int mode, int* logFrames, int* checkpointedFrames);

    [DllImport(Library, EntryPoint = "sqlite3_prepare_v3", ExactSpelling = true)]
    internal static extern int Prepare(nint database, byte* sql, int byteCount, uint flags, nint* statement, byte** tail);

    [DllImport(Library, EntryPoint = "sqlite3_finalize", ExactSpelling = true)]
    internal static extern int Finalize(nint statement);

    [DllImport(Library, EntryPoint = "sqlite3_step", ExactSpelling = true)]
    internal static extern int Step(nint statement);

    [DllImport(Library, EntryPoint = "sqlite3_reset", ExactSpelling = true)]
    internal static extern int Reset(nint statement);

    [DllImport(Library, EntryPoint = "sqlite3_bind_blob", ExactSpelling = true)]
    internal static extern int BindBlob(nint statement, int index, byte* value, int byteCount, nint destructor);

    [DllImport(Library, EntryPoint = "sqlite3_bind_text", ExactSpelling = true)]
    internal static extern int BindText(nint statement, int index, byte* value, int byteCount, nint destructor);

    [DllImport(Library, EntryPoint = "sqlite3_bind_null", ExactSpelling = true)]
    internal static extern int BindNull(nint statement, int index);

    [DllImport(Library, EntryPoint = "sqlite3_bind_int64", ExactSpelling = true), SuppressGCTransition]
    internal static extern int BindInt64(nint statement, int index, long value);

    [DllImport(Library, EntryPoint = "sqlite3_column_int64", ExactSpelling = true), SuppressGCTransition]
    internal static extern long ColumnInt64(nint statement, int column);

    [DllImport(Library, EntryPoint = "sqlite3_column_blob", ExactSpelling = true), SuppressGCTransition]
    internal static extern byte* ColumnBlob(nint statement, int column);

    [DllImport(Library, EntryPoint = "sqlite3_column_bytes", ExactSpelling = true), SuppressGCTransition]
    internal static extern int ColumnBytes(nint statement, int column);

    [DllImport(Library, EntryPoint = "sqlite3_column_type", ExactSpelling = true), SuppressGCTransition]
    internal static extern int ColumnType(nint statement, int column);
}
