using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using ObjectStore.Gateway;
using ObjectStore.Grains;
using ObjectStore.Maintenance.Reclamation;
using ObjectStore.Metadata;
using ObjectStore.Metadata.Sqlite;
using ObjectStore.S3.Signing;
using ObjectStore.Silo.Configuration;
using ObjectStore.Silo.Observability;
using ObjectStore.Storage;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using Orleans;

namespace ObjectStore.Silo.Hosting;

/// <summary>Wires the planes together in one process and runs them. Opening goes data folder, drives, metadata, grains, gateway; stopping the other way round.</summary>
internal static class SiloHost
{
    public static async Task<int> RunAsync(SiloOptions options)
    {
        if (options.DataListen is not null || options.StorageNodes.Count > 0)
            throw new StartException("--data-listen and --storage-nodes are not built yet for a process with all roles");
        long started = Stopwatch.GetTimestamp();
        using DataFolder folder = DataFolder.Open(options.DataPath, options.ClusterId, ClusterSecrets.Load(options)?.DerivedClusterId);
        Credentials credentials = Credentials.Load(folder.CredentialsFile, options.AccessKey, options.SecretKey);
        WebApplicationBuilder builder = CreateBuilder(options);
        using ILoggerFactory logs = LoggerFactory.Create(logging => ConfigureLogging(logging, options));
        Topology topology = options.TopologyPath is { } path ? Topology.Load(path) : Topology.None;
        _ = topology.PlacesOf(Environment.MachineName, options.DrivePaths);
        TellNarrowedSchemes(options, logs.CreateLogger("ObjectStore.Placement"));
        StorageEventLog storageEvents = new(logs.CreateLogger("ObjectStore.Storage"));

        await using IExtentStore extents = await OpenExtentsAsync(options, folder, storageEvents);
        await using IMetadataStore metadata = await OpenMetadataAsync(folder);
        PrometheusExporter exporter = new();
        AddServices(builder, options, folder, credentials, extents, metadata, exporter);
        await using WebApplication application = builder.Build();
        ServiceState state = new();
        S3Gateway gateway = OpenGateway(application.Services);
        OperatorEndpoints endpoints = new(state, exporter, () => new ValueTask<IReadOnlyList<DriveStatistics>>(extents.GetStatistics()), "one copy");
        application.Run(http => endpoints.Handles(http) ? endpoints.HandleAsync(http) : gateway.HandleAsync(http));
        try
        {
            await application.StartAsync();
        }
        catch (IOException e) when (e.InnerException is AddressInUseException or SocketException)
        {
            throw new StartException($"cannot listen on http://{new IPEndPoint(options.Address, options.Port)}: the port is in use", e);
        }
        catch (SocketException e)
        {
            throw new StartException($"cannot listen on http://{new IPEndPoint(options.Address, options.Port)}: {e.Message}", e);
        }

        await StorageNodeRegistration.RegisterAsync(
            application.Services.GetRequiredService<IGrainFactory>(), Environment.MachineName, [.. extents.GetStatistics().Select(drive => new NodeDrive(drive.DriveId, drive.Path, drive.CapacityBytes))],
            topology, options.DrivePaths, application.Services.GetRequiredService<NodeMap>());
        state.IsReady = true;
        application.Lifetime.ApplicationStopping.Register(() => state.IsReady = false);
        string address = application.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();
        Banner.Print(Console.Out, address, options, folder, credentials, Stopwatch.GetElapsedTime(started));
        await application.WaitForShutdownAsync();
        return 0;
    }

    /// <exception cref="StartException">A scheme that was asked for needs more drives than there are.</exception>
    private static void TellNarrowedSchemes(SiloOptions options, ILogger logger)
    {
        if (options.Schemes.Place(options.DrivePaths.Count) is not { Count: > 0 } narrowed) return;
        logger.LogWarning(
            "Too few drives ({Drives}) for the schemes of some storage classes; narrower ones are used: {Schemes}",
            options.DrivePaths.Count, string.Join(", ", narrowed.Select(each => $"{each.StorageClass} {each.Used} instead of {each.Meant}")));
    }

    private static WebApplicationBuilder CreateBuilder(SiloOptions options)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions { ContentRootPath = options.DataPath, ApplicationName = "ObjectStore" });
        ConfigureLogging(builder.Logging, options);
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.AllowSynchronousIO = false;
            kestrel.Limits.MaxRequestBodySize = null;
            kestrel.Limits.MaxConcurrentConnections = 10_000;

            // S3 allows 8 KiB of headers beside 2 KiB of user metadata, and a presigned URL may itself be long.
            kestrel.Limits.MaxRequestHeadersTotalSize = 64 * 1024;
            kestrel.Limits.MaxRequestLineSize = 16 * 1024;
            kestrel.Limits.MaxRequestHeaderCount = 256;
            kestrel.Limits.MaxRequestBufferSize = 1 << 20;
            kestrel.Limits.MaxResponseBufferSize = 1 << 20;
            kestrel.RequestHeaderEncodingSelector = _ => System.Text.Encoding.UTF8;
            kestrel.ResponseHeaderEncodingSelector = _ => System.Text.Encoding.UTF8;
            kestrel.Listen(options.Address, options.Port, listen => listen.Protocols = HttpProtocols.Http1);
        });
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = options.DrainTimeout);
        builder.Services.AddSingleton<IHostLifetime, SignalLifetime>();
        return builder;
    }

    internal static void ConfigureLogging(ILoggingBuilder logging, SiloOptions options)
    {
        logging.SetMinimumLevel(options.LogLevel);
        logging.AddFilter("Microsoft", options.LogLevel > LogLevel.Warning ? options.LogLevel : LogLevel.Warning);

        // A failed start is told in one line on stderr; the host's own account of it is a stack trace. Its critical events still come.
        logging.AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.Critical);
        logging.AddFilter("Orleans", options.LogLevel > LogLevel.Warning ? options.LogLevel : LogLevel.Warning);
        if (options.JsonLogs) logging.AddJsonConsole(console => console.UseUtcTimestamp = true);
        else logging.AddSimpleConsole(console => (console.SingleLine, console.UseUtcTimestamp, console.TimestampFormat) = (true, true, "yyyy-MM-ddTHH:mm:ss.fffZ "));
    }

    private static async Task<IExtentStore> OpenExtentsAsync(SiloOptions options, DataFolder folder, StorageEventLog events)
    {
        try
        {
            StorageOptions storage = new()
            {
                DrivePaths = options.DrivePaths,
                ClusterId = folder.ClusterId,
                VolumeSizeBytes = options.VolumeSizeBytes,
                HeadroomBytes = options.HeadroomBytes,
            };
            return await ExtentStore.OpenAsync(storage, TimeProvider.System, RandomBits, events);
        }
        catch (StorageException e)
        {
            throw new StartException(e.Message, e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StartException($"a drive cannot be opened: {e.Message}", e);
        }
    }

    /// <summary>Makes the gateway and, behind it, the grain runtime, which opens its store.</summary>
    private static S3Gateway OpenGateway(IServiceProvider services)
    {
        try
        {
            return services.GetRequiredService<S3Gateway>();
        }
        catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException)
        {
            throw new StartException(e.Message, e);
        }
    }

    private static async Task<IMetadataStore> OpenMetadataAsync(DataFolder folder)
    {
        try
        {
            return await SqliteMetadataStore.OpenAsync(new SqliteMetadataOptions { Directory = folder.MetadataFolder });
        }
        catch (MetadataStoreException e)
        {
            throw new StartException(e.Message, e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StartException($"the metadata store cannot be opened: {e.Message}", e);
        }
    }

    private static void AddServices(
        WebApplicationBuilder builder, SiloOptions options, DataFolder folder, Credentials credentials, IExtentStore extents, IMetadataStore metadata, PrometheusExporter exporter)
    {
        IServiceCollection services = builder.Services;
        services.AddSingleton(TimeProvider.System);
        services.AddSingleton(metadata);
        services.AddSingleton(extents);
        services.AddSingleton(exporter);
        services.AddSingleton<ICredentialStore>(credentials);
        services.AddObjectStoreGrains(new GrainOptions { GarbageGrace = options.GarbageGrace, DownOutAfter = options.DownOutAfter, Schemes = [.. options.Schemes.Policy.Schemes] });
        services.AddSingleton(provider => NodeMap.Open(folder.Root, provider.GetRequiredService<ILogger<NodeMap>>()));
        services.AddSingleton(new NodeDrives(extents.GetStatistics, static () => []));
        services.AddSingleton(provider => new GatewayServices(
            provider.GetRequiredService<IGrainFactory>(), extents, TimeProvider.System, () => (RandomBits(), RandomBits()),
            new GatewayOptions { Region = options.Region, Domains = options.Domains.Count > 0 ? options.Domains : new GatewayOptions().Domains }));
        services.AddSingleton<S3Gateway>();

        // Hosted services stop in the reverse of this order: the grains outlive everything that calls them, and Kestrel, which the web host
        // adds last, stops first, so that requests in flight end while all they need still runs.
        GrainHosting.Add(builder, folder);

        // A grace that is shorter than the round would be the round in truth.
        TimeSpan round = new GarbageReclaimerOptions().Interval;
        if (options.GarbageGrace < round) round = options.GarbageGrace > TimeSpan.FromSeconds(1) ? options.GarbageGrace : TimeSpan.FromSeconds(1);
        services.AddSingleton(new GarbageReclaimerOptions { Interval = round });
        services.AddHostedService<GarbageReclaimer>();
    }

    internal static ulong RandomBits()
    {
        Span<byte> bytes = stackalloc byte[8];
        RandomNumberGenerator.Fill(bytes);
        return BitConverter.ToUInt64(bytes);
    }
}

/// <summary>Whether the process serves.</summary>
internal sealed class ServiceState
{
    private volatile bool _isReady;

    public bool IsReady
    {
        get => _isReady;
        set => _isReady = value;
    }
}
