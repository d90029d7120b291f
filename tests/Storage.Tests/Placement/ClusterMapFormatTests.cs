using System.Buffers.Binary;
using System.Collections.Immutable;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Placement;

namespace ObjectStore.Storage.Tests.Placement;

/// <summary>The golden bytes of docs/formats/cluster-map.md. A change here is a change of format: raise its version.</summary>
public sealed class ClusterMapFormatTests
{
    [Fact]
    public void Map_MatchesTheGoldenBytes()
    {
        Guid a = new("00010203-0405-0607-0809-0a0b0c0d0e0f"), b = new("10111213-1415-1617-1819-1a1b1c1d1e1f");
        var map = new ClusterMap(
            0x2122232425262728,
            [new MappedDrive(a, 1.5, new FailureDomain("re", "z", "ra", "höst")), new MappedDrive(b, 0, new FailureDomain("", "z", "ra", "h2"), IsReadable: false)],
            new Dictionary<int, ImmutableArray<ImmutableArray<GroupSlot>>>
            {
                [1] = [[new GroupSlot(a, [], true)]],
                [2] = [[new GroupSlot(a, [], false) { Since = 0x31, Absent = [b] }, new GroupSlot(null, [], false) { Since = 0x32 }]],
            });
        byte[] bytes = ClusterMapFormat.Encode(map);
        Assert.Equal(Golden("cluster-map.hex"), Convert.ToHexString(bytes));
        AssertEqual(map, ClusterMapFormat.Decode(bytes));
        for (int bit = 0; bit < bytes.Length * 8; bit++)
        {
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.Throws<ClusterMapFormatException>(() => ClusterMapFormat.Decode(bytes));
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
        }

        for (int length = 0; length < bytes.Length; length++)
            Assert.Throws<ClusterMapFormatException>(() => ClusterMapFormat.Decode(bytes.AsSpan(0, length)));
        Assert.Throws<ClusterMapFormatException>(() => ClusterMapFormat.Decode([.. bytes, 0]));
    }

    [Fact]
    public void Map_OfAPoolInWhichNothingIsStoredYet_MatchesTheGoldenBytes()
    {
        ClusterMap map = MapPlanner.Plan(null, [new MappedDrive(new Guid("00010203-0405-0607-0809-0a0b0c0d0e0f"), 1.5, new FailureDomain("re", "z", "ra", "h"))], 1024, []);
        byte[] bytes = ClusterMapFormat.Encode(map);
        Assert.Equal(Golden("cluster-map-unused.hex"), Convert.ToHexString(bytes));
        AssertEqual(map, ClusterMapFormat.Decode(bytes));
        Assert.Equal(1024, ClusterMapFormat.Decode(bytes).GroupCount);
    }

    [Theory]
    [InlineData(21)]
    [InlineData(22)]
    public void Map_OfAnyTopologyAndHistory_ComesBackAsItWas(int seed)
    {
        var random = new Random(seed);
        for (int topology = 0; topology < 10; topology++)
        {
            List<MappedDrive> drives = Pools.Random(random);
            ClusterMap map = MapPlanner.Plan(null, drives, 16, [Scheme.Copies(3), new Scheme(6, 3)]);
            for (int change = 0; change < 6; change++)
            {
                string what = $"seed {seed}, topology {topology}, {Pools.Change(random, drives)}";
                map = MapPlanner.Plan(map, drives, 16, [Scheme.Copies(3), new Scheme(6, 3)]);
                byte[] bytes = ClusterMapFormat.Encode(map);
                ClusterMap back = ClusterMapFormat.Decode(bytes);
                AssertEqual(map, back);
                Assert.True(bytes.AsSpan().SequenceEqual(ClusterMapFormat.Encode(back)), what);
            }
        }
    }

    [Fact]
    public void Map_WithARightChecksumAndContentThatCannotBe_IsRefused()
    {
        ClusterMap map = MapPlanner.Plan(null, Pools.Grid(new Random(23), 1, 1, 3), 2, [Scheme.Copies(3)]);
        byte[] bytes = ClusterMapFormat.Encode(map);
        var random = new Random(24);
        int refused = 0;
        for (int round = 0; round < 2_000; round++)
        {
            byte[] changed = [.. bytes];
            changed[random.Next(16, bytes.Length - 8)] = (byte)random.Next(256);
            BinaryPrimitives.WriteUInt64LittleEndian(changed.AsSpan(changed.Length - 8), Crc64Nvme.Compute(changed.AsSpan(0, changed.Length - 8)));
            try
            {
                ClusterMap decoded = ClusterMapFormat.Decode(changed);
                Assert.True(decoded.Epoch is > 0 and < long.MaxValue / 2 + 1 && decoded.Drives.All(drive => drive.Weight >= 0 && double.IsFinite(drive.Weight)));
                Assert.NotEmpty(ClusterMapFormat.Encode(decoded)); // as a node does that starts with it
            }
            catch (ClusterMapFormatException)
            {
                refused++;
            }
        }

        Assert.InRange(refused, 1, 1_999);
    }

    [Fact]
    public void Map_OfANewerVersion_SaysSo()
    {
        byte[] bytes = ClusterMapFormat.Encode(MapPlanner.Plan(null, Pools.Grid(new Random(25), 1, 1, 3), 2, [Scheme.Copies(3)]));
        bytes[8] = 2;
        Assert.Contains("version 2", Assert.Throws<ClusterMapFormatException>(() => ClusterMapFormat.Decode(bytes)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void File_HasTheLastMapSaved_AndSaysWhenItIsDamaged()
    {
        string folder = Directory.CreateTempSubdirectory("cluster-map-").FullName;
        try
        {
            Assert.Null(ClusterMapFile.Load(folder));
            List<MappedDrive> drives = Pools.Grid(new Random(26), 1, 1, 3);
            ClusterMap first = MapPlanner.Plan(null, drives, 2, [Scheme.Copies(3)]);
            ClusterMap second = MapPlanner.Plan(first, [.. drives.Skip(1)], 2, [Scheme.Copies(3)]);

            // What a crash left behind of an earlier save is not in the way.
            File.WriteAllText(Path.Combine(folder, ClusterMapFile.Name + ".new"), "torn");
            ClusterMapFile.Save(folder, ClusterMapFormat.Encode(first));
            AssertEqual(first, ClusterMapFile.Load(folder)!);
            ClusterMapFile.Save(folder, ClusterMapFormat.Encode(second));
            AssertEqual(second, ClusterMapFile.Load(folder)!);
            Assert.Equal([ClusterMapFile.Name], Directory.EnumerateFiles(folder).Select(Path.GetFileName));
            File.WriteAllBytes(Path.Combine(folder, ClusterMapFile.Name), ClusterMapFormat.Encode(second)[..^1]);
            Assert.Throws<ClusterMapFormatException>(() => ClusterMapFile.Load(folder));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void AssertEqual(ClusterMap expected, ClusterMap actual)
    {
        Assert.Equal(expected.Epoch, actual.Epoch);
        Assert.Equal(expected.Drives, actual.Drives);
        Assert.Equal(expected.Widths, actual.Widths);
        Assert.Equal(expected.GroupCount, actual.GroupCount);
        Assert.All(expected.Groups, group => Assert.Equal(expected.SlotsOf(group), actual.SlotsOf(group)));
    }

    private static string Golden(string name)
    {
        using Stream stream = typeof(ClusterMapFormatTests).Assembly.GetManifestResourceStream($"golden.{name}") ?? throw new FileNotFoundException(name);
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd().ReplaceLineEndings("").Trim();
    }
}
