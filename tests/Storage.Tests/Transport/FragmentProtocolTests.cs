using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Transport;

namespace ObjectStore.Storage.Tests.Transport;

/// <summary>The golden bytes of docs/formats/transport.md. A change here is a change of protocol: raise its version.</summary>
public sealed class FragmentProtocolTests
{
    private static readonly ClusterSecret Secret = ClusterSecret.Parse("the golden secret of the cluster\n");

    private static readonly FrameHeader Header = new(
        false, FragmentRequest.Write, FragmentStatus.Ok, 0, 70_000, 1_764_000_000_123, new UInt128(0x1122334455667788, 0x99AABBCCDDEEFF00), 0xFEDCBA9876543210,
        new Guid("00112233-4455-6677-8899-aabbccddeeff"));

    [Theory]
    [InlineData(64 << 20, 64 << 20, 1 << 20, true)]
    [InlineData(0, 0, 0, true)]
    [InlineData(1 << 20, 1 << 20, (1 << 20) + 1, false)]
    [InlineData(1 << 20, int.MaxValue, 1 << 20, false)]
    [InlineData(1 << 20, -1, 1 << 20, false)]
    [InlineData((64 << 20) + 1, 1 << 20, 1 << 20, false)]
    [InlineData(-1, 1 << 20, 1 << 20, false)]
    [InlineData(1 << 20, 1 << 20, -1, false)]
    public void Details_OfLengthsThatCannotBe_AreRefused(int blockSize, int blockLength, int payload, bool canBe)
    {
        FragmentWrite fragment = Fragment();
        using FrameWriter writer = new();
        FragmentCodec.WriteDetails(writer, new FragmentDetails(fragment.Key, fragment.Descriptor, fragment.Scheme, blockSize, blockLength, payload, DateTimeOffset.UnixEpoch));
        ReadOnlyMemory<byte> frame = writer.Seal(Header, Secret);
        if (canBe)
            Assert.Equal((blockLength, payload), (FragmentCodec.ReadDetails(FrameHeader.BodyOf(frame.Span))!.BlockLengthBytes, FragmentCodec.ReadDetails(FrameHeader.BodyOf(frame.Span))!.PayloadBytes));
        else
            Assert.Throws<FrameException>(() => FragmentCodec.ReadDetails(FrameHeader.BodyOf(frame.Span)));
    }

    [Fact]
    public void Frame_MatchesTheGoldenBytes()
    {
        using FrameWriter writer = new(8);
        FragmentWrite fragment = Fragment();
        writer.Byte(1);
        FragmentCodec.WriteFragment(writer, fragment);
        ReadOnlySpan<byte> frame = writer.Seal(Header, Secret).Span;
        Assert.Equal(Golden("fragment-frame.hex"), Convert.ToHexStringLower(frame));

        Assert.Equal(Header with { FrameBytes = frame.Length }, FrameHeader.Read(frame));
        Assert.True(FrameHeader.IsIntact(frame));
        Assert.True(FrameHeader.Verify(frame, Secret));
        FrameReader reader = new(FrameHeader.BodyOf(frame));
        Assert.Equal(1, reader.Byte());
        FragmentWrite read = FragmentCodec.ReadFragment(ref reader, out int payloadBytes);
        reader.RequireEnd();
        Assert.Equal(70_000, payloadBytes);
        Assert.Equal(fragment.Descriptor.KeyUtf8.ToArray(), read.Descriptor.KeyUtf8.ToArray());
        Assert.Equal(fragment.ChunkChecksums.ToArray(), read.ChunkChecksums.ToArray());
        Assert.Equal(
            fragment with { Payload = default, ChunkChecksums = default, Descriptor = fragment.Descriptor with { KeyUtf8 = default } },
            read with { ChunkChecksums = default, Descriptor = read.Descriptor with { KeyUtf8 = default } });
    }

    [Fact]
    public void Frame_WithAnyBitChanged_IsNotTaken()
    {
        using FrameWriter writer = new();
        writer.Byte(1);
        FragmentCodec.WriteFragment(writer, Fragment());
        byte[] frame = writer.Seal(Header, Secret).ToArray();
        for (int bit = 0; bit < frame.Length * 8; bit++)
        {
            frame[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.False(FrameHeader.Verify(frame, Secret));
            Assert.Equal(bit / 8 >= frame.Length - FrameHeader.SignatureBytes, FrameHeader.IsIntact(frame));
            frame[bit / 8] ^= (byte)(1 << (bit % 8));
        }
    }

    [Fact]
    public void Frame_CutAnywhere_IsNeverReadBeyondItsEnd()
    {
        using FrameWriter writer = new();
        FragmentCodec.WriteFragment(writer, Fragment());
        byte[] body = FrameHeader.BodyOf(writer.Seal(Header, Secret).Span).ToArray();
        for (int length = 0; length < body.Length; length++)
        {
            Assert.Throws<FrameException>(() =>
            {
                FrameReader reader = new(body.AsSpan(0, length));
                FragmentCodec.ReadFragment(ref reader, out _);
            });
        }
    }

    [Theory]
    [InlineData(FragmentRequest.Hello)]
    [InlineData(FragmentRequest.Write)]
    [InlineData(FragmentRequest.WriteBatch)]
    [InlineData(FragmentRequest.Sync)]
    [InlineData(FragmentRequest.Read)]
    [InlineData(FragmentRequest.Stat)]
    [InlineData(FragmentRequest.Delete)]
    [InlineData(FragmentRequest.List)]
    [InlineData(FragmentRequest.Statistics)]
    [InlineData(FragmentRequest.ReadOnce)]
    [InlineData(FragmentRequest.Volumes)]
    [InlineData(FragmentRequest.VerifyVolume)]
    internal void Path_IsReadAsItIsWritten(FragmentRequest request)
    {
        Guid drive = request == FragmentRequest.Hello ? Guid.Empty : Header.Drive;
        Assert.True(FragmentProtocol.TryParsePath(FragmentProtocol.PathOf(request, drive), out FragmentRequest read, out Guid of));
        Assert.Equal((request, drive), (read, of));
    }

    [Fact]
    public void Text_LongerThanAllowed_IsCutAtACharacter()
    {
        using FrameWriter writer = new();
        writer.Text(new string('ä', 600));
        FrameReader reader = new(FrameHeader.BodyOf(writer.Seal(Header, Secret).Span));
        Assert.Equal(new string('ä', 512), reader.Text());
    }

    [Fact]
    public void ReplayWindow_RemembersForItsSpan_AndRefusesRatherThanForget()
    {
        ReplayWindow window = new(2, TimeSpan.FromMinutes(10));
        DateTimeOffset start = DateTimeOffset.UnixEpoch;
        Assert.Equal(ReplayOutcome.New, window.Enter(1, start, start.AddMinutes(1)));
        Assert.Equal(ReplayOutcome.New, window.Enter(2, start.AddMinutes(5), start.AddMinutes(5)));
        Assert.Equal(ReplayOutcome.Seen, window.Enter(1, start, start.AddMinutes(10)));
        Assert.Equal(ReplayOutcome.Full, window.Enter(3, start.AddMinutes(10), start.AddMinutes(10)));
        Assert.Equal(ReplayOutcome.New, window.Enter(3, start.AddMinutes(10), start.AddMinutes(10.1)));
        Assert.Equal(ReplayOutcome.Seen, window.Enter(2, start.AddMinutes(5), start.AddMinutes(10.1)));
    }

    [Fact]
    public void ReplayWindow_RefusesWhatItHasForgotten_ByAClockThatGoesBackToo()
    {
        ReplayWindow window = new(10, TimeSpan.FromMinutes(5));
        DateTimeOffset start = DateTimeOffset.UnixEpoch, over = start.AddMinutes(5).AddTicks(1);
        Assert.Equal(ReplayOutcome.New, window.Enter(1, start, start));
        Assert.Equal(ReplayOutcome.Seen, window.Enter(1, start, start.AddMinutes(5)));
        Assert.Equal(ReplayOutcome.Seen, window.Enter(1, start, over));
        Assert.Equal(ReplayOutcome.New, window.Enter(2, over, over));
        Assert.Equal(ReplayOutcome.Seen, window.Enter(1, start, start.AddMinutes(1)));
        Assert.Equal(ReplayOutcome.New, window.Enter(3, start.AddMinutes(1), start.AddMinutes(1)));
    }

    [Fact]
    public void ReplayWindow_AfterAClockThatWasAhead_LetsInWhatIsNew_AndStillNotWhatItHasSeen()
    {
        ReplayWindow window = new(10, TimeSpan.FromMinutes(5));
        DateTimeOffset start = DateTimeOffset.UnixEpoch, ahead = start.AddHours(2);
        Assert.Equal(ReplayOutcome.New, window.Enter(1, ahead, ahead));
        Assert.Equal(ReplayOutcome.New, window.Enter(2, start, start));
        Assert.Equal(ReplayOutcome.Seen, window.Enter(2, start, start));
        Assert.Equal(ReplayOutcome.New, window.Enter(3, start.AddMinutes(9), start.AddMinutes(9)));
        Assert.Equal(ReplayOutcome.Seen, window.Enter(1, ahead, ahead));

        // Also where it was ahead for so long that it has forgotten some of what came then.
        Assert.Equal(ReplayOutcome.New, window.Enter(4, ahead.AddMinutes(6), ahead.AddMinutes(6)));
        Assert.Equal(ReplayOutcome.New, window.Enter(5, start.AddMinutes(20), start.AddMinutes(20)));
        Assert.Equal(ReplayOutcome.Seen, window.Enter(1, ahead, ahead.AddMinutes(1)));
    }

    private static FragmentWrite Fragment()
    {
        byte[] payload = [.. Enumerable.Range(0, 70_000).Select(i => (byte)(i * 7))];
        ExtentDescriptor descriptor = new(new ExtentId(new UInt128(0x0190A1B2C3D47000, 0x80000000000000FF)), (3 * 65536) + 5, 42, "a/key"u8.ToArray(), new UInt128(7, 9), 3);
        return new FragmentWrite(
            descriptor, Scheme.Copies(3), 1 << 20, 4, payload.Length, 1, payload, new[] { Crc64Nvme.Compute(payload.AsSpan(0, 65536)), Crc64Nvme.Compute(payload.AsSpan(65536)) });
    }

    private static string Golden(string name)
    {
        using Stream stream = typeof(FragmentProtocolTests).Assembly.GetManifestResourceStream($"golden.{name}") ?? throw new FileNotFoundException(name);
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd().ReplaceLineEndings("").Trim();
    }
}

/// <summary>The cluster's secret: what it is taken from, and that it is not given away.</summary>
public sealed class ClusterSecretTests
{
    [Fact]
    public void DerivedClusterId_IsTheDocumentedOne()
        => Assert.Equal(new Guid("c8018bc3-3206-8154-9c1c-673e7fb31ac2"), ClusterSecret.Parse("the golden secret of the cluster").DerivedClusterId);

    [Fact]
    public void Text_OfTheWrongLength_IsRefusedWithoutBeingShown()
    {
        Assert.DoesNotContain("fifteen", Assert.Throws<ArgumentException>(() => ClusterSecret.Parse("   fifteen bytes !   ")).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => ClusterSecret.Parse(new string('x', 4097)));
        Assert.Equal("(secret)", ClusterSecret.Parse("sixteen bytes !!").ToString());
    }

    [Fact]
    public void File_ThatOthersCanUse_IsRefused()
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllText(path, "the golden secret of the cluster\n");
            if (OperatingSystem.IsWindows())
                return;
            foreach (UnixFileMode mode in (UnixFileMode[])[UnixFileMode.GroupRead, UnixFileMode.OtherRead, UnixFileMode.GroupWrite, UnixFileMode.OtherWrite])
            {
                File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | mode);
                Assert.Contains("chmod 600", Assert.Throws<ArgumentException>(() => ClusterSecret.Load(path)).Message, StringComparison.Ordinal);
            }

            File.SetUnixFileMode(path, UnixFileMode.UserRead);
            Assert.Equal(ClusterSecret.Parse("the golden secret of the cluster").DerivedClusterId, ClusterSecret.Load(path).DerivedClusterId);
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            File.WriteAllBytes(path, [0xEF, 0xBB, 0xBF, .. "the golden secret of the cluster"u8]);
            Assert.Equal(ClusterSecret.Parse("the golden secret of the cluster").DerivedClusterId, ClusterSecret.Load(path).DerivedClusterId);
            File.WriteAllBytes(path, [.. Enumerable.Range(0, 32).Select(i => (byte)(0x80 + (i * 3)))]);
            Assert.Contains("no text", Assert.Throws<ArgumentException>(() => ClusterSecret.Load(path)).Message, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(path);
        }
    }
}
