using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Transport;

namespace ObjectStore.Silo.Tests.Transport;

/// <summary>What a stranger, a broken peer or a newer one may send: it is refused, nothing is stored, and the node goes on.</summary>
public sealed class HostileFrameTests : IAsyncLifetime
{
    private readonly HttpClient _http = new();
    private ServedDrives _served = null!;
    private ulong _instance;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private Guid Drive => _served.Memory.DriveId;

    public async ValueTask InitializeAsync()
    {
        _served = await ServedDrives.StartAsync(ServedDrives.Options(maxDeletes: 3));
        (HttpStatusCode status, FrameHeader header) = await SendAsync(FragmentRequest.Hello, Frame(FragmentRequest.Hello, _ => { }));
        Assert.Equal(HttpStatusCode.OK, status);
        _instance = header.Instance;
    }

    public async ValueTask DisposeAsync()
    {
        // Whatever was sent, the node serves.
        await using (RemoteStorageNode node = await _served.ConnectAsync()) await node.Drives[0].WriteAsync(Make.Copy(1000), sync: true, Token);
        _http.Dispose();
        await _served.DisposeAsync();
    }

    [Theory]
    [InlineData(0, "magic")]
    [InlineData(4, "version")]
    [InlineData(5, "kind")]
    [InlineData(9, "frame length")]
    [InlineData(12, "payload length")]
    [InlineData(20, "time")]
    [InlineData(30, "nonce")]
    [InlineData(41, "instance")]
    [InlineData(50, "drive")]
    [InlineData(70, "body")]
    [InlineData(-36, "checksum")]
    public async Task Frame_WithOneByteChanged_Is400(int at, string what)
    {
        byte[] body = Write(Make.Copy(1000));
        body[(at < 0 ? FrameBytes(body) : 0) + at] ^= 0x40;
        (HttpStatusCode status, _) = await SendAsync(FragmentRequest.Write, body);
        Assert.True(status == HttpStatusCode.BadRequest, what);
        Assert.Equal(0, _served.Memory.Count);
    }

    [Fact]
    public async Task Frame_WithAnotherSignature_Is401()
    {
        byte[] changed = Write(Make.Copy(1000));
        changed[FrameBytes(changed) - 1] ^= 1;
        Assert.Equal(HttpStatusCode.Unauthorized, (await SendAsync(FragmentRequest.Write, changed)).Status);
        byte[] others = Write(Make.Copy(1000), secret: ClusterSecret.Parse("the secret of another cluster"));
        Assert.Equal(HttpStatusCode.Unauthorized, (await SendAsync(FragmentRequest.Write, others)).Status);

        // The checksum mended, as one does who has changed a field.
        byte[] forged = Write(Make.Copy(1000));
        forged[70] ^= 1;
        int trailer = FrameBytes(forged) - 40;
        BinaryPrimitives.WriteUInt64LittleEndian(forged.AsSpan(trailer), Crc64Nvme.Compute(forged.AsSpan(0, trailer)));
        Assert.Equal(HttpStatusCode.Unauthorized, (await SendAsync(FragmentRequest.Write, forged)).Status);
        Assert.Equal(0, _served.Memory.Count);
    }

    [Theory]
    [InlineData(-301, HttpStatusCode.Unauthorized)]
    [InlineData(-290, HttpStatusCode.OK)]
    [InlineData(290, HttpStatusCode.OK)]
    [InlineData(310, HttpStatusCode.Unauthorized)]
    public async Task Frame_OutsideTheClockWindow_Is401(int secondsApart, HttpStatusCode expected)
    {
        byte[] body = Write(Make.Copy(10), at: DateTimeOffset.UtcNow.AddSeconds(secondsApart));
        Assert.Equal(expected, (await SendAsync(FragmentRequest.Write, body)).Status);
        byte[] never = Frame(FragmentRequest.Hello, _ => { }, at: DateTimeOffset.MinValue);
        Assert.Equal(HttpStatusCode.Unauthorized, (await SendAsync(FragmentRequest.Hello, never)).Status);
    }

    [Fact]
    public async Task Frame_OnAnotherPath_Is400()
    {
        byte[] body = Write(Make.Copy(10));
        Assert.Equal(HttpStatusCode.BadRequest, (await SendAsync(FragmentRequest.Sync, body)).Status);
        Assert.Equal(HttpStatusCode.BadRequest, (await SendAsync(FragmentRequest.Write, body, Guid.NewGuid())).Status);
        Assert.Equal(0, _served.Memory.Count);
    }

    [Theory]
    [InlineData("/v1/drives/nothing/write", 404)]
    [InlineData("/v1/drives/00000000-0000-0000-0000-000000000000/destroy", 404)]
    [InlineData("/v1/drives/00000000-0000-0000-0000-000000000000", 404)]
    [InlineData("/v2/hello", 404)]
    [InlineData("/v1/hello?again", 404)]
    [InlineData("/elsewhere", 404)]
    public async Task Path_OfNothing_Is404(string path, int expected)
    {
        using ByteArrayContent content = new(Frame(FragmentRequest.Hello, _ => { }));
        using HttpResponseMessage response = await _http.PostAsync(new Uri(_served.Address, path), content, Token);
        Assert.Equal(expected, (int)response.StatusCode);
    }

    [Fact]
    public async Task Request_WithoutALengthOrWithAnImpossibleOne_IsRefused()
    {
        Assert.Equal(HttpStatusCode.BadRequest, (await SendAsync(FragmentRequest.Hello, new byte[10])).Status);
        Assert.Equal(HttpStatusCode.BadRequest, (await SendAsync(FragmentRequest.Hello, new byte[1000])).Status);
        Assert.StartsWith("HTTP/1.1 405", await RawAsync("GET /v1/hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 411", await RawAsync("POST /v1/hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 4", await RawAsync("POST /v1/hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 99999999999\r\n\r\n"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Body_ThatEndsEarly_StoresNothing()
    {
        byte[] body = Write(Make.Copy(100_000));
        foreach (int length in new[] { 30, 200, body.Length - 1 })
        {
            using TcpClient client = new();
            await client.ConnectAsync(IPAddress.Loopback, _served.Address.Port, Token);
            byte[] head = Encoding.ASCII.GetBytes($"POST {FragmentProtocol.PathOf(FragmentRequest.Write, Drive)} HTTP/1.1\r\nHost: h\r\nContent-Length: {body.Length}\r\n\r\n");
            using NetworkStream stream = client.GetStream();
            await stream.WriteAsync(head, Token);
            await stream.WriteAsync(body.AsMemory(0, length), Token);
            client.Client.Shutdown(SocketShutdown.Send);
            using StreamReader reader = new(stream);
            string answer;
            try
            {
                answer = await reader.ReadToEndAsync(Token);
            }
            catch (IOException)
            {
                answer = ""; // The connection was reset, which is as good.
            }

            Assert.DoesNotContain(" 200 ", answer, StringComparison.Ordinal);
        }

        Assert.Equal(0, _served.Memory.Count);
    }

    [Fact]
    public async Task Payload_ThatIsNotTheSignedOne_IsRefusedAndNotStored()
    {
        byte[] body = Write(Make.Copy(100_000));
        body[^1] ^= 1;
        (HttpStatusCode status, FrameHeader header) = await SendAsync(FragmentRequest.Write, body);
        Assert.Equal((HttpStatusCode.BadRequest, FragmentStatus.PayloadDamaged), (status, header.Status));
        Assert.Equal(0, _served.Memory.Count);
    }

    [Fact]
    public async Task Batch_WithOnePayloadDamaged_StoresNone()
    {
        FragmentWrite[] fragments = [Make.Copy(10), Make.Copy(20)];
        byte[] frame = Frame(
            FragmentRequest.WriteBatch,
            writer =>
            {
                writer.Int32(2);
                foreach (FragmentWrite fragment in fragments) FragmentCodec.WriteFragment(writer, fragment);
            },
            payload: [.. fragments[0].Payload.ToArray(), .. fragments[1].Payload.ToArray()]);
        frame[^1] ^= 1;
        Assert.Equal(FragmentStatus.PayloadDamaged, (await SendAsync(FragmentRequest.WriteBatch, frame)).Header.Status);
        Assert.Equal(0, _served.Memory.Count);
    }

    /// <summary>Signed, so that the signature does not stand in the way of what is behind it.</summary>
    [Fact]
    public async Task SignedNonsense_Is400()
    {
        await RefusedAsync(FragmentRequest.WriteBatch, writer => writer.Int32(int.MaxValue));
        await RefusedAsync(FragmentRequest.WriteBatch, writer => writer.Int32(-1));
        await RefusedAsync(FragmentRequest.Sync, writer => writer.Int32(int.MaxValue));
        await RefusedAsync(FragmentRequest.Delete, writer => writer.Int32(0x0CCC_CCCC));
        await RefusedAsync(FragmentRequest.Delete, writer => writer.Int32(1));
        await RefusedAsync(FragmentRequest.Stat, _ => { });
        await RefusedAsync(FragmentRequest.Stat, writer => writer.Take(23).Clear());
        await RefusedAsync(FragmentRequest.Statistics, writer => writer.Byte(1));
        await RefusedAsync(FragmentRequest.Volumes, _ => { });
        await RefusedAsync(FragmentRequest.VerifyVolume, _ => { });
        await RefusedAsync(FragmentRequest.VerifyVolume, writer => FragmentCodec.WriteQuestion(writer, new VerificationQuestion(1, 1, -1, 0)));
        await RefusedAsync(FragmentRequest.VerifyVolume, writer => FragmentCodec.WriteQuestion(writer, new VerificationQuestion(1, 1, 0, -1)));
        await RefusedAsync(FragmentRequest.List, writer => Listing(writer, entries: int.MaxValue, flags: 0));
        await RefusedAsync(FragmentRequest.List, writer => Listing(writer, entries: 0, flags: 0));
        await RefusedAsync(FragmentRequest.List, writer => Listing(writer, entries: 1, flags: 8));
        await RefusedAsync(FragmentRequest.List, writer =>
        {
            Listing(writer, entries: 1, flags: 1);
            writer.Int32(int.MaxValue);
        });
        FragmentAddress address = Make.Address(Make.Copy(100));
        await RefusedAsync(FragmentRequest.Read, writer => FragmentCodec.WriteRead(writer, address with { PayloadBytes = int.MaxValue }, 0, int.MaxValue));
        await RefusedAsync(FragmentRequest.Read, writer => FragmentCodec.WriteRead(writer, address, 0, -1));
        await RefusedAsync(FragmentRequest.Read, writer => FragmentCodec.WriteRead(writer, address, int.MaxValue, 100));
        FragmentWrite fragment = Make.Copy(100);
        await RefusedAsync(FragmentRequest.Write, writer => Fragment(writer, fragment with { BlockLengthBytes = 99 }), fragment.Payload.ToArray());
        await RefusedAsync(FragmentRequest.Write, writer => Fragment(writer, fragment with { BlockLengthBytes = int.MaxValue, BlockSizeBytes = int.MaxValue }), fragment.Payload.ToArray());
        await RefusedAsync(FragmentRequest.Write, writer => Fragment(writer, fragment with { Block = -1 }), fragment.Payload.ToArray());
        await RefusedAsync(FragmentRequest.Write, writer => Fragment(writer, fragment with { ChunkChecksums = new ulong[2] }), fragment.Payload.ToArray());
        await RefusedAsync(FragmentRequest.Write, writer => Fragment(writer, fragment with { Descriptor = fragment.Descriptor with { KeyUtf8 = new byte[1025] } }), fragment.Payload.ToArray());
        Assert.Equal(0, _served.Memory.Count);

        static void Listing(FrameWriter writer, int entries, byte flags)
        {
            writer.Int32(entries);
            writer.Byte(flags);
        }

        static void Fragment(FrameWriter writer, FragmentWrite fragment)
        {
            writer.Byte(1);
            FragmentCodec.WriteFragment(writer, fragment);
        }
    }

    [Fact]
    public async Task Delete_SentAgain_IsRefused()
    {
        FragmentWrite fragment = Make.Copy(10);
        byte[] delete = Frame(FragmentRequest.Delete, writer =>
        {
            writer.Int32(1);
            FragmentCodec.WriteKey(writer, fragment.Key);
        });
        Assert.Equal(HttpStatusCode.OK, (await SendAsync(FragmentRequest.Delete, delete)).Status);

        // The fragment comes back to this drive; the recorded request must not take it away.
        await _served.Memory.WriteAsync(fragment, sync: true, Token);
        Assert.Equal(FragmentStatus.BadRequest, (await SendAsync(FragmentRequest.Delete, delete)).Header.Status);
        Assert.Equal(1, _served.Memory.Count);
    }

    [Fact]
    public async Task Delete_PastWhatCanBeRemembered_IsBusy()
    {
        for (int i = 0; i < 4; i++)
        {
            byte[] delete = Frame(FragmentRequest.Delete, writer => writer.Int32(0));
            Assert.Equal(i < 3 ? HttpStatusCode.OK : HttpStatusCode.ServiceUnavailable, (await SendAsync(FragmentRequest.Delete, delete)).Status);
        }
    }

    [Fact]
    public async Task LargeFrames_ThatAreOnlyAnnounced_KeepNothingSmallOut()
    {
        // Room for one of them, and not for the smallest frame beside it.
        int large = FrameBytes(Delete(3000));
        await _served.DisposeAsync();
        _served = await ServedDrives.StartAsync(ServedDrives.Options(maxUnverified: large + 50, maxDeletes: 1_000_000)); // the deletes below are not to fill what remembers them
        _instance = (await SendAsync(FragmentRequest.Hello, Frame(FragmentRequest.Hello, _ => { }))).Header.Instance;
        byte[] announced = Delete(3000);
        using TcpClient stranger = new();
        await stranger.ConnectAsync(IPAddress.Loopback, _served.Address.Port, Token);
        await stranger.GetStream().WriteAsync(
            Encoding.ASCII.GetBytes($"POST {FragmentProtocol.PathOf(FragmentRequest.Delete, Drive)} HTTP/1.1\r\nHost: h\r\nContent-Length: {announced.Length}\r\n\r\n"), Token);
        await stranger.GetStream().WriteAsync(announced.AsMemory(0, 100), Token);

        // There is no event for the moment from which it counts.
        using CancellationTokenSource limit = CancellationTokenSource.CreateLinkedTokenSource(Token);
        limit.CancelAfter(TimeSpan.FromSeconds(20));
        while ((await SendAsync(FragmentRequest.Delete, Delete(3000))).Status != HttpStatusCode.ServiceUnavailable)
            limit.Token.ThrowIfCancellationRequested();
        Assert.Equal(HttpStatusCode.OK, (await SendAsync(FragmentRequest.Hello, Frame(FragmentRequest.Hello, _ => { }))).Status);
        Assert.Equal(HttpStatusCode.OK, (await SendAsync(FragmentRequest.Write, Write(Make.Copy(100_000)))).Status);
        Assert.Equal(HttpStatusCode.OK, (await SendAsync(FragmentRequest.Delete, Delete(1))).Status);
        stranger.Close();
        while ((await SendAsync(FragmentRequest.Delete, Delete(3000))).Status != HttpStatusCode.OK)
            limit.Token.ThrowIfCancellationRequested();

        byte[] Delete(int keys) => Frame(FragmentRequest.Delete, writer =>
        {
            writer.Int32(keys);
            for (int i = 0; i < keys; i++) FragmentCodec.WriteKey(writer, new FragmentKey(new ExtentId((UInt128)i), 0, 0));
        });
    }

    [Fact]
    public async Task Request_ForAnotherRunOfTheNode_IsNotCarriedOut()
    {
        _instance++;
        Assert.Equal(FragmentStatus.OtherInstance, (await SendAsync(FragmentRequest.Write, Write(Make.Copy(10)))).Header.Status);
        Assert.Equal(0, _served.Memory.Count);
    }

    [Fact]
    public async Task Nonsense_OfAnyKind_NeverBreaksTheNode()
    {
        const int seed = 20;
        Random random = new(seed);
        byte[] good = Write(Make.Copy(3000));
        for (int i = 0; i < 300; i++)
        {
            byte[] body = (byte[])good.Clone();
            for (int changes = random.Next(1, 8); changes > 0; changes--) body[random.Next(i % 2 == 0 ? 64 : body.Length)] = (byte)random.Next(256);
            if (body.AsSpan().SequenceEqual(good)) continue;
            HttpStatusCode status = (await SendAsync(FragmentRequest.Write, body)).Status;
            Assert.True(status is HttpStatusCode.BadRequest or HttpStatusCode.Unauthorized, $"{status} in round {i} of seed {seed}");
        }

        Assert.Equal(0, _served.Memory.Count);
    }

    private static int FrameBytes(byte[] body) => BinaryPrimitives.ReadInt32LittleEndian(body.AsSpan(8));

    private async Task RefusedAsync(FragmentRequest request, Action<FrameWriter> write, byte[]? payload = null)
    {
        (HttpStatusCode status, FrameHeader header) = await SendAsync(request, Frame(request, write, payload));
        Assert.Equal((HttpStatusCode.BadRequest, FragmentStatus.BadRequest), (status, header.Status));
    }

    private byte[] Write(FragmentWrite fragment, ClusterSecret? secret = null, DateTimeOffset? at = null) => Frame(
        FragmentRequest.Write,
        writer =>
        {
            writer.Byte(1);
            FragmentCodec.WriteFragment(writer, fragment);
        },
        fragment.Payload.ToArray(), secret, at);

    private byte[] Frame(FragmentRequest request, Action<FrameWriter> write, byte[]? payload = null, ClusterSecret? secret = null, DateTimeOffset? at = null)
    {
        using FrameWriter writer = new();
        write(writer);
        UInt128 nonce = new((ulong)Random.Shared.NextInt64(), (ulong)Random.Shared.NextInt64());
        FrameHeader header = new(
            false, request, FragmentStatus.Ok, 0, payload?.Length ?? 0, (at ?? DateTimeOffset.UtcNow).ToUnixTimeMilliseconds(), nonce, _instance,
            request == FragmentRequest.Hello ? Guid.Empty : Drive);
        return [.. writer.Seal(header, secret ?? ServedDrives.Secret).Span, .. payload ?? []];
    }

    /// <summary>The header is that of a verified frame, or empty where the answer has none.</summary>
    private async Task<(HttpStatusCode Status, FrameHeader Header)> SendAsync(FragmentRequest request, byte[] body, Guid? drive = null)
    {
        using ByteArrayContent content = new(body);
        using HttpResponseMessage response = await _http.PostAsync(new Uri(_served.Address, FragmentProtocol.PathOf(request, drive ?? Drive)), content, Token);
        byte[] answer = await response.Content.ReadAsByteArrayAsync(Token);
        if (response.Content.Headers.ContentType?.MediaType != "application/vnd.objectstore.frame") return (response.StatusCode, default);
        FrameHeader header = FrameHeader.Read(answer);
        Assert.True(FrameHeader.IsIntact(answer.AsSpan(0, header.FrameBytes)) && FrameHeader.Verify(answer.AsSpan(0, header.FrameBytes), ServedDrives.Secret));
        return (response.StatusCode, header);
    }

    private async Task<string> RawAsync(string request)
    {
        using TcpClient client = new();
        await client.ConnectAsync(IPAddress.Loopback, _served.Address.Port, Token);
        await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes(request), Token);
        using StreamReader reader = new(client.GetStream());
        return await reader.ReadToEndAsync(Token);
    }
}
