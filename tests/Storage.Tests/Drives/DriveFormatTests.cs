using System.Text;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;
using ObjectStore.Storage.Tests.Simulation;
using ObjectStore.Storage.Volumes;
using ObjectStore.Tests;

namespace ObjectStore.Storage.Tests.Drives;

/// <summary>The golden files of docs/formats/drive.md. A change here is a change of format: raise its version.</summary>
public sealed class DriveFormatTests : IDisposable
{
    private static readonly DriveIdentity Identity = new(new Guid("00010203-0405-0607-0809-0a0b0c0d0e0f"), new Guid("10111213-1415-1617-1819-1a1b1c1d1e1f"));
    private static readonly ExtentId Extent = new(new UInt128(0x4142434445464748, 0x494A4B4C4D4E4F50));

    private readonly TestFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Identity_MatchesTheGoldenFile()
    {
        Assert.Equal(Golden("drive.json"), Encoding.UTF8.GetString(Identity.Encode()));
        Assert.Equal(Identity, DriveIdentity.Decode(Encoding.UTF8.GetBytes(Golden("drive.json")), "/d1"));
    }

    [Fact]
    public void Identity_WithAnyByteChanged_IsRefused_OrSaysTheSame()
    {
        byte[] content = Encoding.UTF8.GetBytes(Golden("drive.json"));
        for (int at = 0; at < content.Length; at++)
        {
            byte was = content[at];
            content[at] ^= 0x01;
            if (DriveIdentity.TryDecode(content, "/d1") is { } read)
                Assert.Equal(Identity, read);
            content[at] = was;
        }
    }

    [Fact]
    public void Index_HasTheGoldenSchemaAndRows()
    {
        string golden = System.IO.Path.Combine(_folder.Path, "golden.db"), path = System.IO.Path.Combine(_folder.Path, "index.db");
        SqliteFile.Execute(golden, Golden("index.sql"));
        using (IndexDatabase index = IndexDatabase.Open(path, Identity.DriveId, out bool created))
        {
            Assert.True(created);
            index.Apply(Fragments(), Volumes(), [KeyValuePair.Create((8L, 7L), 3L)], droppedVolumes: [6], durable: true, [new SupersededChange(new FragmentKey(Extent, 0, 1), 7, 0x2000, Added: true)]);
        }

        foreach (string sql in (string[])
        [
            "PRAGMA journal_mode", "PRAGMA auto_vacuum", "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name", "SELECT name, value, typeof(value) FROM meta ORDER BY name",
            "SELECT hex(key), hex(place) FROM fragment ORDER BY key", "SELECT volume, hex(key), offset FROM superseded",
            "SELECT id, generation, state, complete_below, checksum, live_bytes, live_fragments, record_bytes FROM volume ORDER BY id", "SELECT volume, target, entries FROM tombstone_target",
        ])
        {
            Assert.Equal(SqliteFile.Query(golden, sql), SqliteFile.Query(path, sql));
        }
    }

    [Fact]
    public void GoldenIndex_IsRead()
    {
        string path = System.IO.Path.Combine(_folder.Path, "index.db");
        SqliteFile.Execute(path, Golden("index.sql"));
        using IndexDatabase index = IndexDatabase.Open(path, Identity.DriveId, out bool created);
        Assert.False(created);
        foreach ((FragmentKey key, FragmentLocation? place) in Fragments())
        {
            Assert.True(index.TryGet(key, out FragmentLocation read));
            Assert.Equal(place, read);
        }

        Assert.Equal(Volumes(), index.ReadVolumes());
        Assert.Equal([0x2000], index.ReadSuperseded(7, new FragmentKey(Extent, 0, 1)));
        Assert.Equal(6, index.ReadLastDroppedVolume());
        Assert.Equal(3, Assert.Single(index.ReadTombstoneTargets()).Value);
        index.Dispose();
        Assert.Throws<IndexDamagedException>(() => IndexDatabase.Open(path, Identity.ClusterId, out _));
    }

    /// <summary>Of each length that a number in a key and in a place has.</summary>
    private static KeyValuePair<FragmentKey, FragmentLocation?>[] Fragments() =>
    [
        new(new FragmentKey(Extent, 0, 1), new FragmentLocation(7, 0x3000, 120, 65_536, 5, 0x0603)),
        new(new FragmentKey(Extent, 240, 2), new FragmentLocation(7, 0x12345678, 4096, 1 << 20, 3 << 16, 0x0603)),
        new(new FragmentKey(Extent, 2287, 8), new FragmentLocation(8, 0x2000, 131, 0, 9 << 16 | 1023, 0x0102)),
        new(new FragmentKey(Extent, 67_823, 63), new FragmentLocation(1L << 40, 1L << 32, 131, 1, 20 << 16, 0x1103)),
        new(new FragmentKey(Extent, 1_000_000, 0), new FragmentLocation(8, 0x4000, 131, 1000, 0, 0x0100)),
    ];

    private static VolumeRow[] Volumes() =>
    [
        new(7, 0x3132333435363738, VolumeState.Sealed, 0x20000000, 0x5152535455565758, 1_114_112, 2, 1_114_384),
        new(8, 0xB132333435363738, VolumeState.Active, 0x5000, 0xD152535455565758, 1000, 2, 1262),
    ];

    private static string Golden(string name)
    {
        using Stream stream = typeof(DriveFormatTests).Assembly.GetManifestResourceStream($"golden.{name}") ?? throw new FileNotFoundException(name);
        using StreamReader reader = new(stream);
        return reader.ReadToEnd();
    }
}
