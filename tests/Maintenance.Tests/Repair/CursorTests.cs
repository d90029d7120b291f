using ObjectStore.Maintenance.Rebalancing;
using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Scrubbing;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Maintenance.Tests.Repair;

/// <summary>What cursors look like in the metadata store: a binary that comes later reads them (docs/formats/metadata.md).</summary>
public sealed class CursorTests
{
    private static readonly FragmentKey Key = new(new ExtentId(new UInt128(0x0102030405060708, 0x090A0B0C0D0E0F10)), 0x11121314, 0x1516);

    [Fact]
    public void PassCursor_IsAsDocumented()
    {
        const string first = "01" + "2827262524232221" + "0102030405060708090A0B0C0D0E0F10" + "14131211" + "1615" + "02000000" + "34333231" + "05000000";
        var cursor = new PassCursor(0x2122232425262728, Key, [0x31323334, 5], 0x4142434445464748);
        Assert.Equal("02" + first + "4847464544434241", Convert.ToHexString(cursor.Encode()));
        PassCursor read = PassCursor.Decode(cursor.Encode())!, older = PassCursor.Decode(Convert.FromHexString("01" + first))!;
        Assert.Equal((cursor.StartedUnixMs, cursor.After, cursor.Listed), (read.StartedUnixMs, read.After, read.Listed));
        Assert.Equal((cursor.StartedUnixMs, cursor.After, 0), (older.StartedUnixMs, older.After, older.Listed));
        Assert.Equal(cursor.Undone, read.Undone);
        Assert.Equal(cursor.Undone, older.Undone);
        Assert.Null(PassCursor.Decode(new PassCursor(1, null, []).Encode())!.After);
    }

    [Fact]
    public void ScrubCursor_IsAsDocumented()
    {
        var cursor = new ScrubCursor(1, 2, IsDone: true, InVolumes: true, Key, 3, 4, 5, 6);
        Assert.Equal(
            "01" + "07" + "0100000000000000" + "0200000000000000" + "0102030405060708090A0B0C0D0E0F10" + "14131211" + "1615"
                + "0300000000000000" + "0400000000000000" + "0500000000000000" + "0600000000000000",
            Convert.ToHexString(cursor.Encode()));
        Assert.Equal(cursor, ScrubCursor.Decode(cursor.Encode()));
        Assert.Equal(cursor with { After = null, IsDone = false }, ScrubCursor.Decode((cursor with { After = null, IsDone = false }).Encode()));
    }

    [Fact]
    public void Sweep_MatchesTheGoldenBytes()
    {
        var sweep = new SweepList.Sweep(DateTimeOffset.FromUnixTimeMilliseconds(0x212223242526), new HashSet<int> { 0x31323334, 5 });
        Assert.Equal("01" + "2625242322210000" + "34333231" + "05000000", Convert.ToHexString(sweep.Encode()));
        SweepList.Sweep read = SweepList.Sweep.Decode(sweep.Encode())!;
        Assert.Equal(sweep.NotBefore, read.NotBefore);
        Assert.Equal([5, 0x31323334], read.Groups.Order());
        Assert.Null(SweepList.Sweep.Decode([2, .. sweep.Encode()[1..]]));
        Assert.Null(SweepList.Sweep.Decode(sweep.Encode()[..^1]));
    }

    [Fact]
    public void DrivesOfTheMap_MatchTheGoldenBytes()
    {
        Guid first = new("00010203-0405-0607-0809-0a0b0c0d0e0f"), second = new("10111213-1415-1617-1819-1a1b1c1d1e1f");
        byte[] value = RepairService.EncodeDrives([second, first]);
        Assert.Equal("01" + "0302010005040706" + "08090A0B0C0D0E0F" + "1312111015141716" + "18191A1B1C1D1E1F", Convert.ToHexString(value));
        Assert.Equal([first, second], RepairService.DecodeDrives(value));
        Assert.Empty(RepairService.DecodeDrives([2, .. value[1..]]));
        Assert.Empty(RepairService.DecodeDrives(value[..^1]));
        Assert.Empty(RepairService.DecodeDrives(null));
    }

    [Fact]
    public void Cursor_OfAnotherVersionOrLength_IsNone()
    {
        byte[] pass = new PassCursor(1, Key, [2]).Encode(), scrub = new ScrubCursor(1, 2, false, false, null, 3, 4, 5, 6).Encode();
        for (int length = 0; length < pass.Length; length++)
            Assert.Null(PassCursor.Decode(pass.AsSpan(0, length)));
        for (int length = 0; length < scrub.Length; length++)
            Assert.Null(ScrubCursor.Decode(scrub.AsSpan(0, length)));
        pass[0] = scrub[0] = 3;
        Assert.Null(PassCursor.Decode(pass));
        Assert.Null(ScrubCursor.Decode(scrub));
    }

    [Fact]
    public void KeyBefore_ABlock_IsAboveEveryOneBeforeItAndBelowTheBlock()
    {
        Assert.True(PassCursor.Before(Key.Extent, 7).CompareTo(new FragmentKey(Key.Extent, 7, 0)) < 0);
        Assert.True(PassCursor.Before(Key.Extent, 7).CompareTo(new FragmentKey(Key.Extent, 6, 63)) > 0);
        Assert.True(PassCursor.Before(Key.Extent, 0).CompareTo(new FragmentKey(Key.Extent, 0, 0)) < 0);
        Assert.True(PassCursor.Before(Key.Extent, 0).CompareTo(new FragmentKey(new ExtentId(Key.Extent.Value - 1), 1_000_000, 63)) > 0);
        Assert.Equal(default, PassCursor.Before(default, 0));
    }
}
