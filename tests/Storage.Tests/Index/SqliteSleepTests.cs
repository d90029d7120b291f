using System.Runtime.InteropServices;
using ObjectStore.Sqlite;

namespace ObjectStore.Storage.Tests.Index;

public sealed unsafe partial class SqliteSleepTests
{
    // struct sqlite3_vfs, 64 bit: behind three ints, three pointers and nine functions.
    private const int SleepOffset = 16 + (3 * 8) + (9 * 8);

    /// <summary>The library's own sleep takes a second, and says so.</summary>
    [Theory]
    [InlineData("unix")]
    [InlineData("unix-excl")]
    public void EverySqliteVfsThatIsUsed_SleepsForLessThanASecond(string name)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && Environment.Is64BitProcess, "SQLite's own sleep is fine enough elsewhere");
        SQLitePCL.Batteries_V2.Init();
        SqliteSleep.Install();
        nint vfs = FindVfs(name);
        Assert.NotEqual(0, vfs);
        var sleep = (delegate* unmanaged[Cdecl]<nint, int, int>)(*(nint*)(vfs + SleepOffset));
        Assert.Equal(1500, sleep(vfs, 1500));
    }

    [LibraryImport("e_sqlite3", EntryPoint = "sqlite3_vfs_find", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint FindVfs(string name);
}
